"""The copies of superblock and group descriptors in an ext file system, made the same whoever wrote it.

Tools leave in the copies what was true at some time of their work, and count in the superblock how much they have
written: both differ from version to version. Here the copies become copies, and the count nothing. Layout on disk: the
Linux kernel's documentation, "ext4 Data Structures and Algorithms".
"""

from __future__ import annotations

import os
import struct

from blockdev.core.crc32c import crc32c
from blockdev.filesystems.region import Region

_AT, _LENGTH = 1024, 1024
_CHECKSUM = 0x3FC
_WRITTEN = 0x178  # s_kbytes_written, 64 bits
_STATE, _GROUP = 0x3A, 0x5A
_VALID = 1
_META_GROUPS, _64BIT, _RECOVER = 0x10, 0x80, 0x4  # incompatible features
_SPARSE, _METADATA_CHECKSUMS = 0x1, 0x400  # read-only compatible ones
_SPARSE_2 = 0x200  # a compatible one: other copies


def unify(region: Region) -> None:
    """Set the count in the superblock to nothing, and each copy to what the first one is."""
    file = os.open(region.image, os.O_RDWR | os.O_CLOEXEC)
    try:
        _unify(file, region.offset)
    finally:
        os.close(file)


def _unify(file: int, offset: int) -> None:
    first = bytearray(os.pread(file, _LENGTH, offset + _AT))
    first[_WRITTEN : _WRITTEN + 8] = bytes(8)
    os.pwrite(file, _signed(first), offset + _AT)
    (compatible, incompatible, read_only) = struct.unpack_from("<III", first, 0x5C)
    if incompatible & _META_GROUPS or compatible & _SPARSE_2:
        return  # their copies lie elsewhere
    log, (begin, per_group), blocks = _geometry(bytes(first), bool(incompatible & _64BIT))
    size = 1024 << log
    entry = struct.unpack_from("<H", first, 0xFE)[0] if incompatible & _64BIT else 32
    groups = -(-(blocks - begin) // per_group)
    descriptors = os.pread(file, -(-groups * entry // size) * size, offset + (begin + 1) * size)
    for group in range(1, groups):
        if read_only & _SPARSE and not has_copy(group):
            continue
        copy = bytearray(first)
        struct.pack_into("<H", copy, _GROUP, group)
        struct.pack_into("<H", copy, _STATE, struct.unpack_from("<H", copy, _STATE)[0] & ~_VALID)
        struct.pack_into("<I", copy, 0x60, incompatible & ~_RECOVER)
        at = offset + (begin + group * per_group) * size
        os.pwrite(file, _signed(copy), at)
        os.pwrite(file, descriptors, at + size)


def _geometry(superblock: bytes, wide: bool) -> tuple[int, tuple[int, int], int]:
    """Logarithm of the block size, (first block, blocks in a group), and how many blocks there are."""
    (low,), (log,) = struct.unpack_from("<I", superblock, 4), struct.unpack_from("<I", superblock, 0x18)
    (begin,), (per_group,) = struct.unpack_from("<I", superblock, 0x14), struct.unpack_from("<I", superblock, 0x20)
    (high,) = struct.unpack_from("<I", superblock, 0x150)
    return log, (begin, per_group), low | (high << 32 if wide else 0)


def has_copy(group: int) -> bool:
    """With sparse copies: groups 0 and 1, and the powers of 3, 5 and 7."""
    for base in (3, 5, 7):
        power = base
        while power < group:
            power *= base
        if power == group:
            return True
    return group <= 1


def _signed(superblock: bytearray) -> bytes:
    """The superblock with its checksum, where it has one."""
    (read_only,) = struct.unpack_from("<I", superblock, 0x64)
    if read_only & _METADATA_CHECKSUMS:
        struct.pack_into("<I", superblock, _CHECKSUM, crc32c(bytes(superblock[:_CHECKSUM])) ^ 0xFFFFFFFF)
    return bytes(superblock)
