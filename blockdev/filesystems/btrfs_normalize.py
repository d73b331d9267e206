"""What mkfs.btrfs draws at random or takes from the clock, put right in a file system that it has made.

It draws the ids of the chunk tree, of the subvolumes and of the device, has the present time for inodes and subvolumes,
fills some fields with what the memory held, and leaves blocks behind that no tree needs any more. Offsets are those of
btrfs's on-disk format (btrfs documentation, "On-disk Format"); numbers are little-endian.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from blockdev.core.crc32c import crc32c

_SUPERBLOCKS = (64 << 10, 64 << 20, 256 << 30)
_SUPER, _CHUNKS = 4096, 2048  # bytes of a superblock, and of its room for chunks
_NODE, _ITEM, _POINTER = 101, 25, 33  # bytes of a node's head, of a leaf's item, of an inner node's pointer
_DEVICE_AT, _DEVICE_ID, _CHUNKS_AT = 201, 66, 811  # in the superblock, in an item of a device, in the superblock
_INODE, _ROOT, _DEV_EXTENT, _DEVICE, _CHUNK, _SUBVOLUME = 1, 132, 204, 216, 228, 251  # types of items
_NAMED = (24, 84, 96)  # attributes, and names in a folder by hash and by number: all of one form
_DATA, _ONE_DEVICE = 1, 1 | 2 | 4 | 1 << 5  # bits of a chunk: for data; all that one device may have
_SUMS: dict[int, Callable[[bytes], bytes]] = {
    0: lambda data: crc32c(data).to_bytes(4, "little"),
    2: lambda data: hashlib.sha256(data).digest(),
    3: lambda data: hashlib.blake2b(data, digest_size=32).digest(),
}


@dataclass(frozen=True)
class Pins:
    """What shall be there instead: ``epoch`` in seconds, and an id for each purpose."""

    epoch: int
    derived: Callable[[str], UUID]

    def time(self, seconds: int | None = None) -> bytes:
        """A time in whole seconds, none later than the epoch."""
        return struct.pack("<QI", min(self.epoch if seconds is None else seconds, self.epoch), 0)

    def id(self, purpose: str) -> bytes:
        """The bytes of one id."""
        return self.derived(purpose).bytes


@dataclass
class _Volume:
    """The file system in an open file."""

    file: int
    superblock: bytes
    chunks: list[tuple[int, int, int, tuple[int, ...]]] = field(default_factory=list)
    kept: list[tuple[int, int]] = field(default_factory=list)

    def number(self, at: int, size: int = 8) -> int:
        return int.from_bytes(self.superblock[at : at + size], "little")

    @property
    def node_size(self) -> int:
        return self.number(148, 4)

    def places(self, logical: int) -> list[int]:
        """The bytes of the file at which a block is."""
        for start, length, _, copies in self.chunks:
            if start <= logical < start + length:
                return [copy + logical - start for copy in copies]
        raise ValueError(f"no chunk holds the block {logical}")

    def nodes(self, logical: int) -> Iterator[tuple[int, bytearray]]:
        """Every node of the tree whose root is there."""
        node = bytearray(os.pread(self.file, self.node_size, self.places(logical)[0]))
        yield logical, node
        if node[100]:
            for at in range(_NODE, _NODE + _POINTER * _count(node), _POINTER):
                yield from self.nodes(int.from_bytes(node[at + 17 : at + 25], "little"))

    def summed(self, block: bytes | bytearray) -> bytes:
        """The block with its checksum before it."""
        return _SUMS[self.number(196, 2)](bytes(block[32:])).ljust(32, b"\0") + bytes(block[32:])

    def add_chunk(self, logical: int, item: bytes) -> None:
        """Note where a chunk lies."""
        length, kind, stripes = *struct.unpack_from("<Q16xQ", item), int.from_bytes(item[44:46], "little")
        copies = tuple(int.from_bytes(item[56 + 32 * index : 64 + 32 * index], "little") for index in range(stripes))
        if logical not in {start for start, *_ in self.chunks}:
            self.chunks.append((logical, length, kind, copies))


def pin(image: Path, pins: Pins) -> list[tuple[int, int]] | None:
    """Put all in its place; returns the pieces of the file, (first byte, bytes), that are the file system.

    None, and nothing is changed, where it is of a form this does not know: several devices, data and metadata in one
    chunk, or checksums that Python does not have (xxhash).
    """
    file = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    try:
        volume = _Volume(file, os.pread(file, _SUPER, _SUPERBLOCKS[0]))
        if volume.number(136) != 1 or volume.number(196, 2) not in _SUMS:
            return None
        for logical, item in _system_chunks(volume.superblock):
            volume.add_chunk(logical, volume.superblock[item : item + 80 + 32])
        for _, node in volume.nodes(volume.number(88)):
            for (_, kind, logical), at, size in _items(node):
                if kind == _CHUNK:
                    volume.add_chunk(logical, bytes(node[at : at + size]))
        if any(kind & ~_ONE_DEVICE or (kind & _DATA and kind != _DATA) for *_, kind, _ in volume.chunks):
            return None
        _pin_trees(volume, pins)
        _pin_superblocks(volume, pins, image.stat().st_size)
        volume.kept += [(copy, length) for _, length, kind, copies in volume.chunks if kind & _DATA for copy in copies]
        return volume.kept
    finally:
        os.close(file)


def _pin_trees(volume: _Volume, pins: Pins) -> None:
    roots = [volume.number(88), volume.number(80)]  # of the chunk tree, of the tree of roots
    for _, node in volume.nodes(roots[1]):
        for (_, kind, _), at, _ in _items(node):
            if kind == _ROOT:
                roots.append(int.from_bytes(node[at + 176 : at + 184], "little"))
    for root in roots:
        for logical, node in volume.nodes(root):
            node[64:80] = pins.id("chunk tree")
            _pin_items(node, pins)
            right = volume.summed(node)
            for offset in volume.places(logical):
                os.pwrite(volume.file, right, offset)
                volume.kept.append((offset, volume.node_size))


def _pin_items(node: bytearray, pins: Pins) -> None:
    subvolumes: list[tuple[bytes, int]] = []
    for (number, kind, _), at, size in _items(node):
        if kind == _INODE:
            folder = stat.S_ISDIR(int.from_bytes(node[at + 52 : at + 56], "little"))
            changed = None if folder else int.from_bytes(node[at + 136 : at + 144], "little", signed=True)
            node[at + 112 : at + 160] = pins.time() * 2 + pins.time(changed) + pins.time()
        elif kind == _ROOT and any(node[at + 247 : at + 263]):
            node[at + 247 : at + 263] = pins.id(f"subvolume {number}")
            node[at + 327 : at + 351] = pins.time() * 2
        elif kind == _DEV_EXTENT:
            node[at + 32 : at + 48] = pins.id("chunk tree")
        elif kind == _DEVICE:
            node[at + _DEVICE_ID : at + _DEVICE_ID + 16] = pins.id("device")
        elif kind == _CHUNK:
            _pin_stripes(node, at, pins)
        elif kind in _NAMED:
            _pin_named(node, at, at + size)
        elif kind == _SUBVOLUME:
            which = int.from_bytes(node[at : at + 8], "little")
            subvolumes.append((pins.id(f"subvolume {which}"), which))
    _sort_subvolumes(node, subvolumes)
    used = [at for _, at, _ in _items(node)]
    end = _NODE + (_POINTER if node[100] else _ITEM) * _count(node)
    gap = min(used, default=len(node)) - end
    node[end : end + gap] = bytes(gap)


def _pin_named(node: bytearray, at: int, end: int) -> None:
    """mkfs.btrfs sets no transaction there, and so leaves what the memory held; it is that of the node here."""
    while at < end:
        node[at + 17 : at + 25] = node[80:88]
        data, name = struct.unpack_from("<HH", node, at + 25)
        at += 30 + data + name


def _sort_subvolumes(node: bytearray, subvolumes: list[tuple[bytes, int]]) -> None:
    """The tree that leads from ids to subvolumes: its keys are the ids, two numbers in ascending order."""
    ordered = sorted(
        (int.from_bytes(name[:8], "little"), int.from_bytes(name[8:], "little"), which) for name, which in subvolumes
    )
    for (low, high, which), (item, at) in zip(ordered, _subvolume_items(node), strict=True):
        node[item : item + 17] = struct.pack("<QBQ", low, _SUBVOLUME, high)
        node[at : at + 8] = which.to_bytes(8, "little")


def _subvolume_items(node: bytearray) -> list[tuple[int, int]]:
    """(where the item is, where its data are) of each."""
    items = enumerate(list(_items(node)))
    return [(_NODE + _ITEM * index, at) for index, ((_, kind, _), at, _) in items if kind == _SUBVOLUME]


def _pin_superblocks(volume: _Volume, pins: Pins, size: int) -> None:
    for offset in _SUPERBLOCKS:
        if offset + _SUPER > size:
            continue
        block = bytearray(os.pread(volume.file, _SUPER, offset))
        device = _DEVICE_AT + _DEVICE_ID
        block[device : device + 16] = pins.id("device")
        for _, at in _system_chunks(bytes(block)):
            _pin_stripes(block, at, pins)
        last = _CHUNKS_AT + int.from_bytes(block[160:164], "little")  # what was there before is beyond
        block[last : _CHUNKS_AT + _CHUNKS] = bytes(_CHUNKS_AT + _CHUNKS - last)
        os.pwrite(volume.file, volume.summed(block), offset)
        volume.kept.append((offset, _SUPER))


def _pin_stripes(block: bytearray, at: int, pins: Pins) -> None:
    for stripe in range(int.from_bytes(block[at + 44 : at + 46], "little")):
        start = at + 48 + 32 * stripe + 16
        block[start : start + 16] = pins.id("device")


def _system_chunks(superblock: bytes) -> Iterator[tuple[int, int]]:
    """(logical address, where its item is) of the chunks that the superblock itself tells of."""
    at, end = _CHUNKS_AT, _CHUNKS_AT + int.from_bytes(superblock[160:164], "little")
    while at < end:
        yield int.from_bytes(superblock[at + 9 : at + 17], "little"), at + 17
        at += 17 + 48 + 32 * int.from_bytes(superblock[at + 17 + 44 : at + 17 + 46], "little")


def _count(node: bytearray) -> int:
    return int.from_bytes(node[96:100], "little")


def _items(node: bytearray) -> Iterator[tuple[tuple[int, int, int], int, int]]:
    """(key, where the data are, bytes) of each item of a leaf."""
    if node[100]:
        return
    for at in range(_NODE, _NODE + _ITEM * _count(node), _ITEM):
        number, kind, offset, data, size = struct.unpack_from("<QBQII", node, at)
        yield (number, kind, offset), _NODE + data, size
