"""Boot code for BIOS: whose it is, and GRUB's core image. Pure."""

from __future__ import annotations

import struct

from blockdev.bootloader.grub import CODE_END, CORE_AT
from blockdev.core.units import SECTOR
from blockdev.inspect import zipl
from blockdev.inspect.bytes_view import View
from blockdev.inspect.mbr import is_volume
from blockdev.inspect.model import BootCode, Content

_PARAMETERS = 90  # bytes before the code of a FAT at most; it begins with a jump over them
_REFUSAL = b"This is not a bootable disk"  # what mkfs.vfat puts in the place of code
# Texts that boot sectors show when they fail.
_TEXTS = (
    (b"isolinux.bin missing or corrupt", "isolinux"),
    (b"Missing operating system.", "syslinux"),
    (b"Missing OS\r\n", "syslinux"),
    (b"Error loading operating system", "windows"),
    (b"BOOTMGR is missing", "windows"),
    (b"LILO", "lilo"),
)
_GRUB = (b"GRUB ", b"Geom", b"Read")
_CORE = (b"loading", b"Geom", b"Read")
_LIST_END = 0x200 - 12  # where the core image's first sector keeps the place of the rest


def boot_code(sector: bytes) -> BootCode:
    """Whose code a boot sector (512 bytes) has."""
    if zipl.is_record(sector):
        return BootCode("zipl")
    code = sector[_PARAMETERS if is_volume(sector) else 0 : CODE_END]
    if sector[510:512] != b"\x55\xaa" or not any(code) or _REFUSAL in code:
        return BootCode("none")
    if all(part in code for part in _GRUB):
        return BootCode("grub", struct.unpack_from("<Q", sector, CORE_AT)[0] * SECTOR)
    kind = next((name for part, name in _TEXTS if part in code), "unknown")
    return BootCode(kind)


def core_length(first: bytes) -> int | None:
    """The length in bytes of a core image, by its first sector; None where this is not the begin of one."""
    if first[:1] == b"\0" or not all(part in first for part in _CORE):
        return None
    # The list is read downwards, up to an entry without sectors.
    total, offset = 1, _LIST_END
    while offset > 0:
        count = struct.unpack_from("<H", first, offset + 8)[0]
        if not count:
            break
        total += count
        offset -= 12
    return total * SECTOR


def follows(first: bytes, offset: int) -> bool:
    """Does a core image's first sector, which is at byte ``offset``, find the rest right behind itself?"""
    return bool(struct.unpack_from("<Q", first, _LIST_END)[0] * SECTOR == offset + SECTOR)


def core_content(view: View) -> Content | None:
    """A core image at the begin of a region, as a BIOS boot partition has it."""
    length = core_length(view.read(0, SECTOR))
    return None if length is None else Content("grub core", size=length)
