"""dm-verity's hash tree over a part of an image, in another part of it: made by veritysetup, without device-mapper."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path
from uuid import UUID, uuid5

from blockdev.filesystems.region import Region, copy_in, copy_out
from stages.errors import BuildError

BLOCK = 4096
_DIGEST = 32
_SUPERBLOCK = 4096
_NAMESPACE = UUID("7a4c7b3c-4cb7-5a0d-8a51-9c1f7a1f6f02")
_ROOT = re.compile(r"^Root hash:\s*([0-9a-f]+)$", re.MULTILINE)
_HINT = "sudo apt-get install --no-install-recommends cryptsetup-bin, or use another engine"


def hash_size(data: int) -> int:
    """Bytes that superblock and hash tree take for ``data`` bytes (SHA-256, blocks of 4096 bytes)."""
    blocks, total = -(-data // BLOCK), 0
    per_block = BLOCK // _DIGEST
    while blocks > 1:
        blocks = -(-blocks // per_block)
        total += blocks
    return _SUPERBLOCK + max(total, 1) * BLOCK


def format(data: Region, hashes: Region, *, seed: str) -> str:  # noqa: A001 - as veritysetup calls it
    """Write the hash tree over ``data`` into ``hashes``; returns the root hash in hexadecimal.

    Salt and UUID are derived from ``seed``. Raises BuildError: no room, or veritysetup is missing or failed.
    """
    needed = hash_size(data.length)
    if hashes.length < needed:
        raise BuildError(
            f"the hash tree takes {needed} bytes, and there is room for {hashes.length}",
            where=str(hashes),
            hint="make the partition for the hashes larger",
        )
    salt = uuid5(_NAMESPACE, f"{seed}/salt").hex + uuid5(_NAMESPACE, f"{seed}/more").hex
    identity = str(uuid5(_NAMESPACE, f"{seed}/uuid"))
    with tempfile.TemporaryDirectory(prefix=".verity-", dir=data.image.parent) as name:
        source, tree = Path(name) / "data", Path(name) / "hashes"
        copy_out(data, source)
        said = _run(["format", f"--salt={salt}", f"--uuid={identity}", str(source), str(tree)])
        found = _ROOT.search(said)
        if not found:
            raise BuildError("veritysetup names no root hash", where=str(data))
        copy_in(tree, hashes)
    return found[1]


def check(data: Region, hashes: Region, root: str) -> None:
    """Compare every block of ``data`` with the tree; BuildError where one differs."""
    with tempfile.TemporaryDirectory(prefix=".verity-", dir=data.image.parent) as name:
        source, tree = Path(name) / "data", Path(name) / "hashes"
        copy_out(data, source)
        copy_out(hashes, tree)
        _run(["verify", str(source), str(tree), root])


def _run(argv: list[str]) -> str:
    try:
        done = subprocess.run(
            ["veritysetup", *argv], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}
        )
    except FileNotFoundError as error:
        raise BuildError("veritysetup is not there", hint=_HINT) from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise BuildError(f"veritysetup failed: {said[-1] if said else f'status {done.returncode}'}")
    return done.stdout
