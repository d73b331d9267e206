"""VHD: qemu-img puts the present time and a random UUID into the footer, and into its copy.

After Microsoft's "Virtual Hard Disk Image Format Specification" 1.0, "Hard Disk Footer Format": 512 bytes in big
endian, cookie "conectix" at 0, time (seconds since 2000-01-01 UTC) at 24, kind of disk at 60, checksum at 64 (the ones'
complement of the sum of all other bytes), UUID at 68. A dynamic disk begins with a copy of it.
"""

from __future__ import annotations

import struct
from uuid import UUID

from blockdev.core.errors import BuildError

FOOTER = 512
_COOKIE = b"conectix"
_BEGINNING = 946_684_800  # 2000-01-01 00:00:00 UTC
_TIME, _KIND, _CHECKSUM, _UUID = 24, 60, 64, 68
_FIXED = 2
_LATEST = 0xFFFFFFFF


def checksum(footer: bytes) -> int:
    """What stands in the checksum's place of a footer."""
    return ~(sum(footer) - sum(footer[_CHECKSUM:_UUID])) & 0xFFFFFFFF


def is_fixed(footer: bytes) -> bool:
    """Is this a fixed disk: one without a copy of the footer at its beginning?"""
    return int(struct.unpack_from(">I", footer, _KIND)[0]) == _FIXED


def pinned(footer: bytes, epoch: int, uuid: UUID) -> bytes:
    """The footer with this time (seconds since 1970; what VHD cannot say becomes its first or last second) and UUID."""
    if len(footer) != FOOTER or not footer.startswith(_COOKIE):
        raise BuildError("this is no VHD footer: it does not begin with conectix")
    changed = bytearray(footer)
    struct.pack_into(">I", changed, _TIME, min(max(epoch - _BEGINNING, 0), _LATEST))
    changed[_UUID : _UUID + 16] = uuid.bytes
    struct.pack_into(">I", changed, _CHECKSUM, checksum(bytes(changed)))
    return bytes(changed)
