"""The finished tree, unpacked into the mounted file systems."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import IO

from blockdev.core.errors import BuildError
from blockdev.core.tools import find


def unpack(tree: Path, root: Path) -> None:
    """Put a tree, a tar file or a folder, into the mounted file systems: owners by number, all attributes."""
    # /boot/efi is a FAT, which keeps no attributes; of what it cannot keep tar warns, and goes on.
    kept = ["--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner", "--directory"]
    out = ["tar", "--extract", "--same-owner", "--same-permissions", *kept, str(root), "--file"]
    if tree.is_dir():
        out.append("-")
        packing = [find("tar"), "--create", "--sparse", *kept, str(tree), "--file", "-", "."]
        with subprocess.Popen(packing, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as source:
            _extract(out, source.stdout)
            said = source.stderr.read() if source.stderr else b""
        if source.returncode:
            raise BuildError(f"the tree could not be read: {_last(said)}", where=str(tree))
        return
    _extract([*out, str(tree)], subprocess.DEVNULL)


def _extract(command: list[str], source: IO[bytes] | int | None) -> None:
    done = subprocess.run(
        [find("tar"), *command[1:]],
        stdin=source,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        text = done.stderr.decode(errors="replace")
        full = next((line for line in text.splitlines() if "No space left" in line), "")
        hint = "make the image (--image-size) or this part of it larger" if full else ""
        raise BuildError(f"the tree could not be unpacked: {full or _last(done.stderr)}", hint=hint)


def _last(said: bytes) -> str:
    lines = [line for line in said.decode(errors="replace").strip().splitlines() if "Exiting with failure" not in line]
    return lines[-1] if lines else "no reason given"
