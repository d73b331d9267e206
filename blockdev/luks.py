"""LUKS2 containers in an image, without device-mapper: a plain file system is encrypted offline and moved in.

A container is never the same twice: its key, salts and the cipher text of even the emptiest block are new each time.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid5

from blockdev.filesystems.region import Region, copy_in, copy_out
from stages.errors import BuildError

HEADER = 16 << 20  # bytes at the begin of a region that its header takes
_ROOM = 2 * HEADER  # what cryptsetup must find free at the end of a device that it encrypts in place
_NAMESPACE = UUID("5f1a0c1e-0f5e-5d0e-9a3b-0a5b8f7f3c11")
_HINT = "sudo apt-get install --no-install-recommends cryptsetup-bin, or use another engine"


@dataclass(frozen=True)
class Luks:
    """One container.

    ``key`` is the passphrase, byte for byte; ``memory`` in KiB, ``iterations`` and ``parallel`` are what the key
    derivation costs, said outright so that no stopwatch decides. ``uuid`` empty: derived from ``seed``.
    """

    key: bytes
    cipher: str = "aes-xts-plain64"
    key_bits: int = 512
    pbkdf: str = "argon2id"
    memory: int = 65536
    iterations: int = 4
    parallel: int = 1
    label: str = ""
    uuid: str = ""
    seed: str = ""

    @property
    def volume_id(self) -> str:
        """The UUID given, or the one that follows from the seed."""
        return self.uuid or str(uuid5(_NAMESPACE, self.seed))


def encrypt(plain: Path, region: Region, luks: Luks) -> None:
    """Encrypt the sparse file ``plain``, :data:`HEADER` shorter than the region, into the region of an image.

    ``cryptsetup open`` of the region then gives what the file holds. Raises BuildError: cryptsetup is missing or
    failed, or the file has another length.
    """
    size = plain.stat().st_size
    if size != region.length - HEADER:
        raise BuildError(
            f"what is to be encrypted has {size} bytes, and its container has room for {region.length - HEADER}",
            where=str(region),
        )
    with tempfile.TemporaryDirectory(prefix=".luks-", dir=plain.parent) as name:
        device = Path(name) / "device"
        copy_out(Region(plain, 0, size), device)
        os.truncate(device, size + _ROOM)
        _run(_encrypt_argv(luks), luks, device)
        os.truncate(device, region.length)  # the second half of the free room is not needed any more
        copy_in(device, region)


def read_back(region: Region, luks: Luks, target: Path) -> None:
    """Decrypt a region's content to the new file ``target``; slow, for tests and rescue."""
    with tempfile.TemporaryDirectory(prefix=".luks-", dir=target.parent) as name:
        device, header = Path(name) / "device", Path(name) / "header"
        copy_out(region, device)
        argv = ["reencrypt", "--decrypt", "--batch-mode", "--disable-locks", "--force-offline-reencrypt"]
        _run([*argv, "--header", str(header)], luks, device)
        copy_out(Region(device, 0, region.length - HEADER), target)


def _encrypt_argv(luks: Luks) -> list[str]:
    argv = ["reencrypt", "--encrypt", "--type", "luks2", "--batch-mode", "--disable-locks", "--force-offline-reencrypt"]
    argv += ["--reduce-device-size", str(_ROOM), "--cipher", luks.cipher, "--key-size", str(luks.key_bits)]
    argv += ["--uuid", luks.volume_id, "--pbkdf", luks.pbkdf]
    if luks.pbkdf == "pbkdf2":
        argv += ["--pbkdf-force-iterations", str(max(luks.iterations, 1000))]
    else:
        argv += ["--pbkdf-force-iterations", str(max(luks.iterations, 4)), "--pbkdf-memory", str(luks.memory)]
        argv += ["--pbkdf-parallel", str(luks.parallel)]
    return [*argv, *(["--label", luks.label] if luks.label else [])]


def _run(argv: list[str], luks: Luks, device: Path) -> None:
    """Run cryptsetup; the passphrase goes through a pipe and is on no command line."""
    try:
        done = subprocess.run(
            ["cryptsetup", *argv, "--key-file", "-", str(device)],
            input=luks.key,
            capture_output=True,
            cwd=device.parent,  # where it keeps the header while it works
            env={**os.environ, "LC_ALL": "C"},
        )
    except FileNotFoundError as error:
        raise BuildError("cryptsetup is not there", hint=_HINT) from error
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise BuildError(f"cryptsetup failed: {said[-1] if said else f'status {done.returncode}'}", where=luks.label)
