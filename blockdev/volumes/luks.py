"""LUKS2 containers in an image, written offline: no device-mapper, no loop device (LUKS2 On-Disk Format, 1.1.1).

cryptsetup encrypts a plain file and keeps the header in a file of its own meanwhile, so that no block has to move; the
header then goes to the 16 MiB before the data where it says that they are.

A container is never the same twice: its key, its salts and with them every encrypted byte are drawn anew. Nor is it
sparse: blank blocks are encrypted, too, or the image would show how much there is in it.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid5

from blockdev.core import tools
from blockdev.core.errors import BuildError
from blockdev.core.units import SECTOR
from blockdev.filesystems.region import Region, copy_in, copy_out, require_blank
from blockdev.layout.model import LUKS_HEADER

_AT_ONCE = 64 << 20  # bytes that cryptsetup encrypts between two notes in its header
_NAMESPACE = UUID("5f1a0c1e-0f5e-5d0e-9a3b-0a5b8f7f3c11")
# Of RFC 9106 the choice for little memory and one turn more, as the machine may be small and has one thread here; of
# PBKDF2 with SHA-256 what is held to be enough for passwords. Both take a good second of a slow machine.
_ITERATIONS = {"argon2id": 4, "argon2i": 4, "pbkdf2": 600_000}
_LEAST = {"argon2id": 4, "argon2i": 4, "pbkdf2": 1000}  # cryptsetup takes no fewer
_OFFLINE = ["--batch-mode", "--disable-locks", "--force-offline-reencrypt", "--key-file", "-"]


@dataclass(frozen=True)
class Luks:
    """One container.

    ``key`` is the passphrase, byte for byte (what is typed at boot has no line end). ``memory`` in KiB, ``iterations``
    (0: 4 for argon2id, 600000 for pbkdf2) and ``parallel`` (threads) are what the key derivation costs, said outright
    so that no stopwatch decides. ``uuid`` empty: derived from ``seed``. ``sector_size`` (bytes) is what is encrypted at
    once: 4096 is faster, and then the file system inside needs blocks of at least as much.
    """

    key: bytes = field(repr=False)
    cipher: str = "aes-xts-plain64"
    key_bits: int = 512
    pbkdf: str = "argon2id"
    memory: int = 65536
    iterations: int = 0
    parallel: int = 1
    label: str = ""
    uuid: str = ""
    seed: str = ""
    sector_size: int = 512

    @property
    def volume_id(self) -> str:
        """The UUID given, or the one that follows from the seed."""
        return self.uuid or str(uuid5(_NAMESPACE, self.seed))


def encrypt(plain: Path, region: Region, luks: Luks) -> None:
    """Encrypt the sparse file ``plain``, LUKS_HEADER shorter than the region, into the blank region of an image.

    ``cryptsetup open`` of the region then gives what the file holds. Needs as much room beside ``plain`` as the region
    has. Raises BuildError: cryptsetup is missing or failed, the file has another length, the region is not blank, or
    the wish is none that LUKS2 can have.
    """
    size = plain.stat().st_size
    _refuse(luks, region, size)
    require_blank(region)
    with tempfile.TemporaryDirectory(prefix=".luks-", dir=plain.parent) as name:
        device, header = Path(name) / "device", Path(name) / "header"
        with device.open("xb") as file:
            file.truncate(region.length)
        copy_in(plain, Region(device, LUKS_HEADER, size))
        _run(["reencrypt", *encryption(luks), "--header", str(header)], luks, device, region)
        copy_in(device, region)
        copy_in(header, region)


def read_back(region: Region, luks: Luks, target: Path) -> None:
    """Decrypt a region's content to the new file ``target``; slow, for tests and rescue.

    Raises BuildError: the region holds no container, or the key is not its key.
    """
    with tempfile.TemporaryDirectory(prefix=".luks-", dir=target.parent) as name:
        device, header = Path(name) / "device", Path(name) / "header"
        copy_out(region, device)
        _run(["reencrypt", "--decrypt", "--header", str(header)], luks, device, region)
        copy_out(Region(device, 0, region.length - LUKS_HEADER), target)


def encryption(luks: Luks) -> list[str]:
    """The words after ``cryptsetup reencrypt`` that say how to encrypt; no secret is among them."""
    options = ["--encrypt", "--type", "luks2", "--offset", str(LUKS_HEADER // SECTOR), "--resilience", "none"]
    options += ["--hotzone-size", str(_AT_ONCE), "--cipher", luks.cipher, "--key-size", str(luks.key_bits)]
    options += ["--sector-size", str(luks.sector_size), "--uuid", luks.volume_id, "--pbkdf", luks.pbkdf]
    options += ["--pbkdf-force-iterations", str(luks.iterations or _ITERATIONS[luks.pbkdf])]
    if luks.pbkdf != "pbkdf2":
        options += ["--pbkdf-memory", str(luks.memory), "--pbkdf-parallel", str(luks.parallel)]
    return [*options, *(["--label", luks.label] if luks.label else [])]


def _refuse(luks: Luks, region: Region, size: int) -> None:
    where = f"LUKS2 container {luks.label or luks.volume_id}"
    if luks.pbkdf not in _ITERATIONS:
        raise BuildError(
            f"there is no key derivation {luks.pbkdf!r}", where=where, hint=f"choose one of {', '.join(_ITERATIONS)}"
        )
    if luks.iterations and luks.iterations < _LEAST[luks.pbkdf]:
        least = _LEAST[luks.pbkdf]
        raise BuildError(f"{luks.iterations} iterations of {luks.pbkdf} are too few: {least} at least", where=where)
    if not luks.key:
        raise BuildError("the passphrase is empty", where=where, hint="give one of a byte at least")
    if size != region.length - LUKS_HEADER:
        raise BuildError(
            f"what is to be encrypted has {size} bytes, and its container has room for {region.length - LUKS_HEADER}",
            where=str(region),
        )
    if size % luks.sector_size:
        raise BuildError(
            f"what is to be encrypted has {size} bytes, which are no whole sectors of {luks.sector_size}", where=where
        )


def _run(arguments: list[str], luks: Luks, device: Path, region: Region) -> None:
    """Run cryptsetup; the passphrase goes through a pipe and is on no command line."""
    command = ["cryptsetup", *arguments, *_OFFLINE, str(device)]
    done = tools.run(command, data=luks.key, cwd=device.parent, env={**os.environ, "LC_ALL": "C.UTF-8"})
    if done.status:
        what = tools.last_line(done.err, f"it ended with status {done.status}").replace(str(device.parent), "")
        raise BuildError(f"cryptsetup {arguments[0]} failed: {what}", where=str(region))
