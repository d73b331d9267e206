"""Places in directories, as a number of 31 bits.

ext4 tells a 64-bit process a hash of 63 bits as the place after an entry (getdents64(2), ``d_off``). An interpreter is
such a process; a 32-bit program in it that was built without large files ends its list there with EOVERFLOW, which few
look for, and sees an empty folder. The kernel gives 32-bit processes the hash's upper half; here they get as much of it
as leaves room for a mark, by which lseek(2) is told apart. Pure: no call is made here.
"""

from __future__ import annotations

import struct

LOWEST, HIGHEST = 0x70000000, 0x7FFFFFFF  # what marked places are
_END = 0x7FFFFFFFFFFFFFFF  # ext4's place after the last entry
_SHIFT = 35  # bits of a place that are lost: two entries whose hashes differ in these alone share their place
_HEADER = struct.Struct("=QqHB")  # struct linux_dirent64: inode, place, length, kind; the name follows


def short(offset: int) -> int:
    """A place in 31 bits; as it is where it has no more."""
    return offset if 0 <= offset < LOWEST else LOWEST | offset >> _SHIFT & HIGHEST - LOWEST


def long(offset: int) -> int:
    """The kernel's place for a marked one."""
    return _END if offset == HIGHEST else (offset & HIGHEST - LOWEST) << _SHIFT


def shortened(entries: bytes) -> bytes:
    """What getdents64(2) gave, with each place in 31 bits."""
    data = bytearray(entries)
    position = 0
    while position < len(data):
        inode, offset, length, kind = _HEADER.unpack_from(data, position)
        _HEADER.pack_into(data, position, inode, short(offset), length, kind)
        position += length
    return bytes(data)
