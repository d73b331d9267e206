"""A kernel image for s390x with its parameters filled in, as a boot loader leaves it in memory.

After Linux: arch/s390/include/asm/setup.h (the parameter area) and arch/s390/boot/head.S. The image is what memory
holds from address 0 on; what lies before the entry is for starting from a card reader.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from blockdev.core.errors import BuildError

ENTRY = 0x10000
_MARK_AT, _MARK = 0x10008, b"S390EP"
_RAMDISK_AT, _RAMDISK = 0x10408, struct.Struct(">QQ")  # address and bytes
_LIMIT_AT, _LIMIT = 0x10430, struct.Struct(">Q")  # bytes of the command line with its end; 0 before Linux 5.16
_LINE_AT, _OLD_LIMIT = 0x10480, 896


@dataclass(frozen=True)
class Kernel:
    """A kernel image, which errors call ``name``; ``limit`` is how many bytes of command line it takes, end and all."""

    image: bytes
    name: str
    limit: int

    @property
    def length(self) -> int:
        """The bytes to load at :data:`ENTRY`."""
        return len(self.image) - ENTRY

    def prepared(self, line: str, ramdisk: tuple[int, int]) -> bytes:
        """What to load at :data:`ENTRY`, with a command line and the ram disk's address and bytes (both 0: none).

        Raises BuildError: the command line is too long for this kernel, or has letters that it cannot have.
        """
        if not line.isascii() or not line.isprintable():
            raise BuildError(f"the kernel's command line is not plain ASCII: {line!r}", where=self.name)
        if len(line) >= self.limit:
            raise BuildError(
                f"the kernel's command line has {len(line)} letters, and this kernel takes {self.limit - 1}",
                where=self.name,
                hint="make it shorter: DIB_BOOTLOADER_DEFAULT_CMDLINE, or parameters= in /etc/zipl.conf",
            )
        whole = bytearray(self.image)
        _RAMDISK.pack_into(whole, _RAMDISK_AT, *ramdisk)
        whole[_LINE_AT : _LINE_AT + self.limit] = line.encode("ascii").ljust(self.limit, b"\0")
        return bytes(whole[ENTRY:])


def read(image: bytes, name: str) -> Kernel:
    """The kernel in a file's content; BuildError, calling it ``name``, where it is none that s390x starts."""
    if image[_MARK_AT : _MARK_AT + len(_MARK)] == _MARK and len(image) >= _LINE_AT + _OLD_LIMIT:
        limit = _LIMIT.unpack_from(image, _LIMIT_AT)[0] or _OLD_LIMIT
        if len(image) >= _LINE_AT + limit:
            return Kernel(image, name, limit)
    raise BuildError(
        "this is no kernel image that an s390x disk starts from",
        where=name,
        hint="install a distribution's kernel for s390x; an ELF program (vmlinux) is none",
    )
