"""Names and inodes of an XFS file system as they lie in a file (XFS Algorithms & Data Structures, 3rd edition).

Only what mkfs.xfs makes today: version 5, with checksums and file types in directories.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from blockdev.core.crc32c import crc32c

LOCAL, EXTENTS, BTREE = 1, 2, 3  # where the data or the attributes of an inode are
_LITERAL = 176  # where they begin in it
_INODE_CRC, _DIRECTORY_CRC, _LINK_CRC, _LEAF_CRC = 100, 4, 12, 12
_SIZES = ((4, 8), (84, 88), (104, 106))  # in the superblock: bytes of a block, blocks of a group, bytes of an inode
_BIG_COUNTS = 1 << 4
_LEAF_AT = 32 << 30  # from this byte of a directory on there are no names any more, but hashes of them
_BLOCK_MAGIC, _DATA_MAGIC, _LEAF_MAGIC = b"XDB3", b"XDD3", b"\x3b\xee"
_VALUE_HERE, _SPACES = 1, 6  # flags of an attribute


@dataclass(frozen=True, slots=True)
class Sealed:
    """A part of the file with a checksum over it: first byte, bytes, and where in it the checksum is."""

    offset: int
    length: int
    crc: int


@dataclass(frozen=True, slots=True)
class Name:
    """A name in a directory: whose it is, at which byte of the file it is, and in what."""

    text: bytes
    inode: int
    offset: int
    inside: Sealed


@dataclass(frozen=True, slots=True)
class Value:
    """The value of an extended attribute: first byte of the file, bytes, and what it is in."""

    offset: int
    length: int
    inside: Sealed


class Disk:
    """The file system in a file of its own, to read and to change in places."""

    def __init__(self, file: Path) -> None:
        self._file = os.open(file, os.O_RDWR | os.O_CLOEXEC)
        head = os.pread(self._file, 512, 0)
        self.root = int.from_bytes(head[56:64], "big")
        self._block, self._group, self._size = (int.from_bytes(head[at:to], "big") for at, to in _SIZES)
        self._identity = head[32:48]
        self._per_block, self._group_bits = head[123], head[124]
        self._directory_block = self._block << head[192]

    def __enter__(self) -> Disk:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def _byte(self, block: int) -> int:
        """Where a block is, from its number: group and block in the group, side by side."""
        group, inside = block >> self._group_bits, block & ((1 << self._group_bits) - 1)
        return (group * self._group + inside) * self._block

    def inode(self, number: int) -> Sealed:
        """Where an inode is."""
        block, slot = number >> self._per_block, number & ((1 << self._per_block) - 1)
        return Sealed(self._byte(block) + slot * self._size, self._size, _INODE_CRC)

    def read(self, part: Sealed) -> bytes:
        """Its bytes."""
        return os.pread(self._file, part.length, part.offset)

    def write(self, offset: int, content: bytes, inside: Sealed) -> None:
        """Put bytes in their place, and the checksum of what they are part of in its."""
        os.pwrite(self._file, content, offset)
        whole = bytearray(self.read(inside))
        whole[inside.crc : inside.crc + 4] = bytes(4)
        os.pwrite(self._file, crc32c(bytes(whole)).to_bytes(4, "little"), inside.offset + inside.crc)

    def names(self, number: int) -> list[Name]:
        """What a directory holds, without itself and its parent."""
        home = self.inode(number)
        data = self.read(home)
        if data[5] == LOCAL:
            return list(_short(data, home))
        listed: list[Name] = []
        for first, block, count in self._extents(data):
            if first * self._block >= _LEAF_AT:
                continue
            for at in range(0, count * self._block, self._directory_block):
                part = Sealed(self._byte(block) + at, self._directory_block, _DIRECTORY_CRC)
                listed += _long(self.read(part), part)
        return [name for name in listed if name.text not in (b".", b"..")]

    def _extents(self, inode: bytes) -> Iterator[tuple[int, int, int]]:
        """(first block in the file, number of the block it is, how many) of an inode's data, in order."""
        if inode[5] == EXTENTS:
            big = struct.unpack_from(">Q", inode, 120)[0] & _BIG_COUNTS
            (count,) = struct.unpack_from(">Q", inode, 24) if big else struct.unpack_from(">I", inode, 76)
            yield from _records(inode, _LITERAL, count)
        elif inode[5] == BTREE:
            level, count = struct.unpack_from(">HH", inode, _LITERAL)
            room = (inode[82] * 8 or self._size - _LITERAL) - 4
            yield from self._below(inode, _LITERAL + 4, level, count, room // 16)

    def _below(self, block: bytes, at: int, level: int, count: int, room: int) -> Iterator[tuple[int, int, int]]:
        """The extents below a block of the tree whose content is at ``at``: all keys come before all pointers."""
        if level == 0:
            yield from _records(block, at, count)
            return
        for (pointer,) in struct.iter_unpack(">Q", block[at + room * 8 : at + room * 8 + count * 8]):
            child = os.pread(self._file, self._block, self._byte(pointer))
            below, inside = struct.unpack_from(">HH", child, 4)
            yield from self._below(child, 72, below, inside, (self._block - 72) // 16)

    def retarget(self, number: int, target: bytes) -> None:
        """Let a symbolic link, whose target is as long, lead elsewhere."""
        home = self.inode(number)
        data = self.read(home)
        if data[5] == LOCAL:
            self.write(home.offset + _LITERAL, target, home)
            return
        # mkfs.xfs of 6.1 writes no header before a target that is outside the inode, so all of it is written here.
        _, block, _ = next(self._extents(data))
        part = Sealed(self._byte(block), self._block, _LINK_CRC)
        where = (self._identity, number, part.offset // 512, (1 << 64) - 1)
        header = struct.pack(">4sIII16sQQQ", b"XSLM", 0, len(target), 0, *where)
        self.write(part.offset, (header + target).ljust(self._block, b"\0"), part)

    def attributes(self, number: int) -> dict[tuple[int, bytes], Value]:
        """The extended attributes of an inode whose values are in it or in a block with their names.

        By bits of the namespace and name.
        """
        home = self.inode(number)
        data = self.read(home)
        at = _LITERAL + data[82] * 8
        if not data[82]:
            return {}
        if data[83] == LOCAL:
            return dict(_short_attributes(data, at, home))
        if data[83] != EXTENTS:
            return {}
        part = Sealed(self._byte(next(_records(data, at, 1))[1]), self._block, _LEAF_CRC)
        return dict(_long_attributes(self.read(part), part))


def _records(block: bytes, at: int, count: int) -> Iterator[tuple[int, int, int]]:
    for high, low in struct.iter_unpack(">QQ", block[at : at + 16 * count]):
        yield high >> 9 & ((1 << 54) - 1), (high & 0x1FF) << 43 | low >> 21, low & ((1 << 21) - 1)


def _short(inode: bytes, home: Sealed) -> Iterator[Name]:
    """The names of a directory that fits into its inode."""
    count, wide = inode[_LITERAL], 8 if inode[_LITERAL + 1] else 4
    at = _LITERAL + 2 + wide
    for _ in range(count):
        length, start = inode[at], at + 3
        at = start + length + 1
        yield Name(
            inode[start : start + length], int.from_bytes(inode[at : at + wide], "big"), home.offset + start, home
        )
        at += wide


def _long(block: bytes, part: Sealed) -> Iterator[Name]:
    """The names in one block of a directory."""
    at, end = 64, len(block)
    if block[:4] == _BLOCK_MAGIC:  # one block is all: the hashes are at its end
        end -= 8 + 8 * int.from_bytes(block[-8:-4], "big")
    elif block[:4] != _DATA_MAGIC:
        return
    while at < end:
        if block[at : at + 2] == b"\xff\xff":
            at += int.from_bytes(block[at + 2 : at + 4], "big")
            continue
        length, start = block[at + 8], at + 9
        number = int.from_bytes(block[at : at + 8], "big")
        yield Name(block[start : start + length], number, part.offset + start, part)
        at += -(-(8 + 1 + length + 1 + 2) // 8) * 8


def _short_attributes(inode: bytes, at: int, home: Sealed) -> Iterator[tuple[tuple[int, bytes], Value]]:
    count, at = inode[at + 2], at + 4
    for _ in range(count):
        name, value, space = inode[at : at + 3]
        end = at + 3 + name
        yield (space & _SPACES, inode[at + 3 : end]), Value(home.offset + end, value, home)
        at = end + value


def _long_attributes(block: bytes, part: Sealed) -> Iterator[tuple[tuple[int, bytes], Value]]:
    """Those of a leaf; what is in blocks of its own is left out."""
    if block[8:10] != _LEAF_MAGIC:
        return
    for entry in range(80, 80 + 8 * int.from_bytes(block[56:58], "big"), 8):
        at, flags = int.from_bytes(block[entry + 4 : entry + 6], "big"), block[entry + 6]
        if flags & _VALUE_HERE:
            value, name = struct.unpack_from(">HB", block, at)
            end = at + 3 + name
            yield (flags & _SPACES, block[at + 3 : end]), Value(part.offset + end, value, part)
