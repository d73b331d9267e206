"""A streamOptimized VMDK from a raw image, its grains compressed on every processor (qemu-img does it on one).

After VMware's "Virtual Disk Format 1.1", "Stream-Optimized Compressed Sparse Extents", everything in little endian and
in sectors of 512 bytes: the header, the descriptor, then grains of 64 KiB in the disk's order (a marker with the
grain's first sector and the length of its zlib stream), after the grains of each 32 MiB their grain table, at last the
grain directory, the footer (the header once more, which now knows where the directory is) and the end-of-stream marker.
Grains of nothing but zeros are left out, and grain tables without grains.

What qemu-img's own differ in, and why:

- it puts two grain directories and all grain tables before the data, without markers, and goes back to fill them in;
  here they follow the data, each behind its marker, and the header says ``GD_AT_END``: as the specification lays out a
  stream, which a reader can take from a pipe, and which is hashed while it is written.
- its flags say that there is a redundant grain directory (bit 1); a stream has none, and ``rgdOffset`` is 0.
- its grain tables are all there, full of zeros where the disk is; here such a table is left out (entry 0 in the
  directory).

The descriptor is the same, line by line. ``capacity`` is the disk's length: the specification would have it a multiple
of a grain, but then the disk would grow; as qemu-img does, a last grain is filled up with zeros instead.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from blockdev.convert.checksums import Checksums
from blockdev.convert.formats import Plan
from blockdev.convert.parallel_read import in_order, pieces, units
from blockdev.core.derived_ids import content_id
from blockdev.core.errors import BuildError
from blockdev.core.units import SECTOR

GRAIN = 64 << 10
_GRAIN_SECTORS = GRAIN // SECTOR
_TABLE_ENTRIES = 512
_TABLE_SECTORS = _TABLE_ENTRIES * 4 // SECTOR
_TOGETHER = 16  # grains for one task of a thread; divides a table's

_MAGIC = 0x564D444B  # "KDMV" in little endian
_VERSION = 3
_FLAGS = 1 << 0 | 1 << 16 | 1 << 17  # newline test valid; grains compressed; markers
_DESCRIPTOR, _DESCRIPTOR_SECTORS = 1, 20
_OVERHEAD = 128  # sectors before the first grain: header and descriptor, up to a whole grain
_GD_AT_END = 0xFFFFFFFFFFFFFFFF
_NEWLINES = b"\n \r\n"  # a transfer as text would change them
_DEFLATE = 1
_END_OF_STREAM, _GRAIN_TABLE, _GRAIN_DIRECTORY, _FOOTER = range(4)
_MOST_SECTORS = 0xFFFFFFFF  # a grain table's entry has 32 bits

_ADAPTERS = {"ide": 16, "lsilogic": 255, "buslogic": 255, "legacyESX": 255}  # and their disks' heads
_KNOWN = {
    "subformat": "streamOptimized",
    "adapter_type": "|".join(_ADAPTERS),
    "hwversion": "[0-9]{1,10}",
    "toolsversion": "[0-9]{1,10}",
}
_HARDWARE, _TOOLS = "4", "2147483647"  # what qemu-img says; the latter: whatever the guest brings
_SECTORS_A_TRACK = 63


def fits(plan: Plan) -> bool:
    """Is this a streamOptimized VMDK of nothing but options that :func:`write` knows?"""
    return plan.format.name == "vmdk" and all(
        key in _KNOWN and re.fullmatch(_KNOWN[key], value) for key, value in plan.options.items()
    )


def write(raw: Path, target: Path, plan: Plan, seed: str, threads: int, names: Sequence[str]) -> dict[str, str]:
    """Write a raw image of whole sectors as a new file, which goes by its own name within; returns its checksums.

    Raises OSError, and BuildError where more than the format's 2 TiB came of it.
    """
    source = os.open(raw, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(source).st_size
        text = descriptor(size // SECTOR, target.name, content_id(seed), plan.options)
        with Checksums(names) as sums, target.open("wb") as out:
            for data in _stream(source, size, text, plan.level, threads):
                sums.update(data)
                out.write(data)
            out.flush()
            return sums.results()
    finally:
        os.close(source)


def descriptor(sectors: int, name: str, identity: int, options: Mapping[str, str]) -> bytes:
    """The descriptor of a disk of this length ("The Descriptor File"), as long as its place in the image."""
    adapter = options.get("adapter_type", "ide")
    heads = _ADAPTERS[adapter]
    text = f"""\
# Disk DescriptorFile
version=1
CID={identity:08x}
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RW {sectors} SPARSE "{name}"

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "{options.get("hwversion", _HARDWARE)}"
ddb.geometry.cylinders = "{sectors // (_SECTORS_A_TRACK * heads)}"
ddb.geometry.heads = "{heads}"
ddb.geometry.sectors = "{_SECTORS_A_TRACK}"
ddb.adapterType = "{adapter}"
ddb.toolsVersion = "{options.get("toolsversion", _TOOLS)}"
"""
    return text.encode(errors="surrogateescape").ljust(_DESCRIPTOR_SECTORS * SECTOR, b"\0")


def header(sectors: int, directory: int) -> bytes:
    """SparseExtentHeader: the disk's length and the grain directory's place, in sectors."""
    fields = struct.pack(
        "<IIIQQQQIQQQB4sH",
        _MAGIC,
        _VERSION,
        _FLAGS,
        sectors,
        _GRAIN_SECTORS,
        _DESCRIPTOR,
        _DESCRIPTOR_SECTORS,
        _TABLE_ENTRIES,
        0,  # no redundant grain directory
        directory,
        _OVERHEAD,
        0,  # no unclean shutdown
        _NEWLINES,
        _DEFLATE,
    )
    return fields.ljust(SECTOR, b"\0")


def marker(kind: int, sectors: int) -> bytes:
    """The marker of what is no grain, and takes so many sectors after it."""
    return struct.pack("<QII", sectors, 0, kind).ljust(SECTOR, b"\0")


def _stream(source: int, size: int, text: bytes, level: int, threads: int) -> Iterator[bytes]:
    """The image's bytes, in order."""
    yield (header(size // SECTOR, _GD_AT_END) + text).ljust(_OVERHEAD * SECTOR, b"\0")
    tables = _Tables(-(-size // (GRAIN * _TABLE_ENTRIES)))
    for grains, data in in_order(partial(_grains, source, level), pieces(source, size, GRAIN, _TOGETHER), threads):
        if grains:
            yield tables.turned_to(grains[0][0] // _TABLE_ENTRIES)
            for number, sectors in grains:
                tables.add(number, sectors)
            yield data
    yield tables.turned_to(-1)
    directory = tables.sector + 1
    content = _little(tables.directory)
    sectors = -(-len(content) // SECTOR)
    yield marker(_GRAIN_DIRECTORY, sectors) + content.ljust(sectors * SECTOR, b"\0")
    yield marker(_FOOTER, 1) + header(size // SECTOR, directory) + marker(_END_OF_STREAM, 0)


class _Tables:
    """The grain directory, the grain table in hand, and where in the image (in sectors) the next thing goes."""

    def __init__(self, count: int) -> None:
        self.sector = _OVERHEAD
        self.directory = [0] * count
        self._table = [0] * _TABLE_ENTRIES
        self._current = -1

    def turned_to(self, number: int) -> bytes:
        """Grains belong to the table of this number from here on; returns the one before, if there was one."""
        if self._current in {number, -1}:
            self._current = number
            return b""
        self.directory[self._current] = self.sector + 1
        data = marker(_GRAIN_TABLE, _TABLE_SECTORS) + _little(self._table)
        self._table = [0] * _TABLE_ENTRIES
        self._current = number
        self._advance(1 + _TABLE_SECTORS)
        return data

    def add(self, number: int, sectors: int) -> None:
        """A grain of the disk comes next, and takes so many sectors."""
        self._table[number % _TABLE_ENTRIES] = self.sector
        self._advance(sectors)

    def _advance(self, sectors: int) -> None:
        self.sector += sectors
        if self.sector > _MOST_SECTORS:
            raise BuildError("a streamOptimized VMDK holds at most 2 TiB", hint="choose another format")


def _little(numbers: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(numbers)}I", *numbers)


def _grains(source: int, level: int, piece: range) -> tuple[list[tuple[int, int]], bytes]:
    """Each grain's number and length in sectors, and all of them as they stand in the image."""
    places, parts = [], []
    for number, content in units(source, piece, GRAIN):
        data = zlib.compress(content, level)
        sectors = -(-(12 + len(data)) // SECTOR)
        parts.append((struct.pack("<QI", number * _GRAIN_SECTORS, len(data)) + data).ljust(sectors * SECTOR, b"\0"))
        places.append((number, sectors))
    return places, b"".join(parts)
