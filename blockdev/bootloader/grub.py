"""The boot loader that a tree brings, and GRUB's place on a disk: its images for BIOS and for ppc64el's Open Firmware.

The tree's own stages make these files (the element ``bootloader``), for the label of its root; here they get to where
the firmware looks. UEFI needs nothing more than files in the ESP, which its file system's writer copies.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from blockdev.bootloader.zipl.config import FILE as ZIPL_SETTINGS
from blockdev.core.errors import BuildError
from blockdev.core.rooted_path import inside
from blockdev.core.units import SECTOR

# boot.img: the sector of the core image, 64 bits, and the jump over the check of the drive (GRUB: i386/pc/boot.h).
CORE_AT = 0x5C
_DRIVE_CHECK = 0x66
_NO_JUMP = b"\x90\x90"
CODE_END = 440  # from here on the sector is the partition table's, with the disk's id
_MARK_AT, _MARK = 510, b"\x55\xaa"
# core.img's first sector ends with what else to read: first sector, count, segment. The rest of the core is one run.
_RUN = struct.Struct("<QHH")
_RUN_AT = SECTOR - _RUN.size
_REST_SEGMENT = 0x820  # right behind the first sector, which the BIOS's code has at 0x8000
_MOST_SECTORS = 0xFFFF

_GRUB = ("boot/grub", "boot/grub2")
_ESPS = ("boot/efi", "efi", "boot")


@dataclass(frozen=True)
class LoaderFiles:
    """What boots a tree: GRUB for BIOS (``boot``, ``core``), GRUB for Open Firmware, paths of programs for UEFI.

    ``zipl``: it says what an s390x disk starts.
    """

    bios: tuple[Path, Path] | None = None
    prep: Path | None = None
    efi: tuple[str, ...] = ()
    zipl: bool = False

    def __bool__(self) -> bool:
        """Is there any boot loader."""
        return bool(self.bios or self.prep or self.efi or self.zipl)


def find(tree: Path) -> LoaderFiles:
    """What the tree brings to boot from; links that lead out of the tree are not followed."""
    settings = inside(tree, ZIPL_SETTINGS)
    boot, core = _first(tree, "i386-pc/boot.img"), _first(tree, "i386-pc/core.img")
    return LoaderFiles(
        bios=(boot, core) if boot and core else None,
        prep=_first(tree, "powerpc-ieee1275/core.elf"),
        efi=tuple(sorted(_programs(tree))),
        zipl=settings is not None and settings.is_file(),
    )


def _first(tree: Path, name: str) -> Path | None:
    return next((file for folder in _GRUB if (file := tree / folder / name).is_file() and _inside(tree, file)), None)


def _inside(tree: Path, file: Path) -> bool:
    return file.resolve().is_relative_to(tree.resolve())


def _programs(tree: Path) -> Iterator[str]:
    """The paths in the tree of what firmware starts by itself: EFI/BOOT/BOOT*.EFI, in whatever case."""
    for esp in _ESPS:
        for first in _folders_called(tree / esp, "efi"):
            for second in _folders_called(first, "boot"):
                for file in second.iterdir():
                    name = file.name.lower()
                    if name.startswith("boot") and name.endswith(".efi") and file.is_file() and _inside(tree, file):
                        yield file.relative_to(tree).as_posix()


def _folders_called(folder: Path, name: str) -> list[Path]:
    if not folder.is_dir() or folder.is_symlink():
        return []
    return [path for path in folder.iterdir() if path.name.lower() == name and path.is_dir() and not path.is_symlink()]


def patched(boot: bytes, core: bytes, first_sector: int) -> tuple[bytes, bytes]:
    """GRUB's two images as they lie on a disk whose sector ``first_sector`` (of 512 bytes) is the core's first.

    What comes back: the 440 bytes of code of the disk's first sector, and the core, whole sectors long. Raises
    BuildError where these are not GRUB's images.
    """
    if len(boot) != SECTOR or boot[_MARK_AT:] != _MARK:
        raise BuildError("boot.img is not GRUB's: it is not one boot sector", hint="install GRUB's files anew")
    count = -(-len(core) // SECTOR) - 1
    if not 0 < count <= _MOST_SECTORS:
        raise BuildError(f"core.img is not GRUB's: it has {len(core)} bytes", hint="install GRUB's files anew")
    code = bytearray(boot[:CODE_END])
    code[CORE_AT : CORE_AT + 8] = struct.pack("<Q", first_sector)
    # Some BIOSes give a disk the number of a floppy; without this jump GRUB puts that right. Disks are all we make.
    code[_DRIVE_CHECK : _DRIVE_CHECK + len(_NO_JUMP)] = _NO_JUMP
    linked = bytearray(core.ljust((count + 1) * SECTOR, b"\0"))
    linked[_RUN_AT:SECTOR] = _RUN.pack(first_sector + 1, count, _REST_SEGMENT)
    return bytes(code), bytes(linked)


def embed_bios(image: Path, boot: bytes, core: bytes, *, start: int, room: int, sector_size: int = SECTOR) -> None:
    """Put GRUB for BIOS on a disk image: its code beside the partition table, its core from byte ``start`` on.

    ``start`` is the BIOS boot partition's begin, or 512 for the gap between an MBR and its first partition; ``room`` is
    how many bytes may be used from there on. Disk id and partition table stay. Raises BuildError where the core has no
    room, and for sectors of another size than 512 bytes, which no BIOS starts from.
    """
    if sector_size != SECTOR:
        raise BuildError(
            f"a disk with sectors of {sector_size} bytes does not boot by BIOS",
            where=str(image),
            hint="boot it by UEFI, or give the disk sectors of 512 bytes",
        )
    if start < SECTOR or start % SECTOR:
        raise ValueError(f"byte {start} is no place for a core image")
    code, linked = patched(boot, core, start // SECTOR)
    if len(linked) > room:
        raise BuildError(
            f"the boot loader for BIOS has no room: it takes {len(linked)} bytes, and there are {max(room, 0)}",
            where=f"{image}, byte {start}",
            hint="begin the first partition at 1 MiB or later (align: 1MiB), or add a BIOS boot partition (type EF02)"
            " of 1 MiB",
        )
    with image.open("r+b") as file:
        file.write(code)
        file.seek(_MARK_AT)
        file.write(_MARK)
        file.seek(start)
        file.write(linked)


def embed_prep(image: Path, elf: bytes, start: int, length: int) -> None:
    """Put GRUB for Open Firmware into the PReP partition, ``length`` bytes from byte ``start`` on.

    Raises BuildError where it has no room or is no ELF program.
    """
    if elf[:4] != b"\x7fELF":
        raise BuildError("core.elf is not GRUB's: it is no ELF program", hint="install GRUB's files anew")
    if len(elf) > length:
        raise BuildError(
            f"the boot loader has no room in the PReP partition: it takes {len(elf)} bytes, and there are {length}",
            where=f"{image}, byte {start}",
            hint="make the partition 8 MiB",
        )
    with image.open("r+b") as file:
        file.seek(start)
        file.write(elf)
