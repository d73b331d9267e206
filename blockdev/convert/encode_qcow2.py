"""A compressed qcow2 from a raw image, its clusters compressed on every processor.

qemu-img does so too when it may write them in any order, but then the image is another one each time; in order, it
compresses on one. After QEMU's docs/interop/qcow2.txt, everything in big endian: a header of version 3, the clusters in
the disk's order with each L2 table after those that it tells of, then the L1 table, the refcount blocks and the
refcount table. A cluster of zeros is not there, one that does not compress lies plain and aligned.

The header is as qemu-img writes it, without the optional table of the features' names, which is for programs too old to
know a feature. Clusters are packed as qemu-img packs them, byte after byte, and a plain one between two that are
compressed leaves no gap longer than a compressed cluster.
"""

from __future__ import annotations

import os
import re
import struct
import sys
import zlib
from array import array
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from blockdev.convert import checksums, libzstd
from blockdev.convert.formats import Plan
from blockdev.convert.parallel_read import in_order, pieces, units
from blockdev.core.units import SECTOR

_CLUSTER = 64 << 10
_CLUSTERS = {1 << bits for bits in range(12, 22)}  # qemu takes 512 bytes too; so many would be slow here
_TOGETHER = 1 << 20  # bytes for one task of a thread

_MAGIC = b"QFI\xfb"
_VERSION, _HEADER_LENGTH = 3, 112
_REFCOUNT_ORDER, _REFCOUNT_BYTES = 4, 2
_COMPRESSION_TYPE = 1 << 3  # of the incompatible features
_LAZY_REFCOUNTS = 1 << 0  # of the compatible ones
_COPIED, _COMPRESSED = 1 << 63, 1 << 62
_TYPES = {"zlib": 0, "zstd": 1}

_ZSTD_LEVEL = 2  # qemu has 3: a third more work for images of a sixtieth less
_ZLIB_WINDOW = -12  # raw deflate, what the format asks for

_KNOWN = {
    "compression_type": "zstd|zlib",
    "compat": "1[.]1|v3",
    "lazy_refcounts": "on|off",
    "cluster_size": "[0-9]+[kKM]?",
}
_UNITS = {"k": 1 << 10, "K": 1 << 10, "M": 1 << 20}

Compress = Callable[[bytes], bytes | None]


def fits(plan: Plan) -> bool:
    """Is this a compressed qcow2 of nothing but options that :func:`write` knows, and can this machine compress it?"""
    return (
        plan.format.name == "qcow2"
        and plan.compression in _TYPES
        and all(key in _KNOWN and re.fullmatch(_KNOWN[key], value) for key, value in plan.options.items())
        and cluster_size(plan) in _CLUSTERS
        and (plan.compression != "zstd" or libzstd.library() is not None)
    )


def cluster_size(plan: Plan) -> int:
    """A plan's length of a cluster in bytes; 0 where it is not said in a way known here."""
    text = plan.options.get("cluster_size", str(_CLUSTER))
    if not re.fullmatch(_KNOWN["cluster_size"], text):
        return 0
    return int(text.rstrip("kKM")) * _UNITS.get(text[-1], 1)


def write(raw: Path, target: Path, plan: Plan, _seed: str, threads: int, names: Sequence[str]) -> dict[str, str]:
    """Write a raw image of whole sectors as a new file; returns its checksums. Raises OSError.

    The header can be written last only, so the file is read for the checksums when it is whole.
    """
    cluster = cluster_size(plan)
    source = os.open(raw, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(source).st_size
        with target.open("xb", buffering=0) as out:
            layout = _Layout(_Output(out.fileno()), cluster, size)
            todo = pieces(source, size, cluster, max(1, _TOGETHER // cluster))
            for clusters in in_order(partial(_clusters, source, cluster, compressor(plan)), todo, threads):
                for number, content in clusters:
                    layout.add(number, content)
            layout.finish(plan)
    finally:
        os.close(source)
    return checksums.of_file(target, names)


def compressor(plan: Plan) -> Compress:
    """What compresses a cluster; it gives None where nothing is won by it."""
    most = cluster_size(plan) - 1
    return libzstd.Compressor(most, _ZSTD_LEVEL) if plan.compression == "zstd" else partial(_deflated, most)


def _deflated(most: int, content: bytes) -> bytes | None:
    deflate = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, _ZLIB_WINDOW, 9)
    data = deflate.compress(content) + deflate.flush()
    return data if len(data) <= most else None


def _clusters(source: int, cluster: int, compress: Compress, piece: range) -> list[tuple[int, bytes]]:
    """Each cluster's number and what is to be stored of it: as long as a cluster only where it stays plain."""
    return [(number, compress(content) or content) for number, content in units(source, piece, cluster)]


def header(cluster: int, size: int, l1: tuple[int, int], refcounts: tuple[int, int], plan: Plan) -> bytes:
    """The header of a disk of ``size`` bytes: ``l1`` is the L1 table's offset and number of entries, ``refcounts`` the
    refcount table's offset and number of clusters."""
    kind = _TYPES[plan.compression]
    fields = struct.pack(
        ">4sIQIIQIIQQIIQQQQIIB",
        _MAGIC,
        _VERSION,
        0,  # no backing file
        0,
        cluster.bit_length() - 1,
        size,
        0,  # not encrypted
        l1[1],
        l1[0],
        *refcounts,
        0,  # no snapshots
        0,
        _COMPRESSION_TYPE if kind else 0,
        _LAZY_REFCOUNTS if plan.options.get("lazy_refcounts") == "on" else 0,
        0,
        _REFCOUNT_ORDER,
        _HEADER_LENGTH,
        kind,
    )
    return fields.ljust(_HEADER_LENGTH, b"\0") + bytes(8)  # and the end of the header extensions


def descriptor(cluster: int, offset: int, length: int) -> int:
    """The L2 entry of a compressed cluster ("Compressed Clusters Descriptor"): where it begins, to the byte, and how
    many sectors of 512 bytes it touches beyond its first one."""
    shift = 62 - (cluster.bit_length() - 1 - 8)
    beyond = (offset + length - 1) // SECTOR - offset // SECTOR
    return _COMPRESSED | beyond << shift | offset


class _Output:
    """A file that is mostly written on and on: what is adjacent goes out together."""

    _MOST = 1 << 20

    def __init__(self, file: int) -> None:
        self.file = file
        self._start = self._length = 0
        self._parts: list[bytes] = []

    def put(self, offset: int, data: bytes) -> None:
        """Data at an offset; it may be written later."""
        if offset != self._start + self._length or self._length >= self._MOST:
            self.flush()
            self._start = offset
        self._parts.append(data)
        self._length += len(data)

    def flush(self) -> None:
        """Write what waits."""
        data, offset = memoryview(b"".join(self._parts)), self._start
        while data:
            written = os.pwrite(self.file, data, offset)
            data, offset = data[written:], offset + written
        self._start, self._length, self._parts = self._start + self._length, 0, []


class _Layout:
    """Where in the image each thing goes, and the tables that tell of it."""

    def __init__(self, out: _Output, cluster: int, size: int) -> None:
        self._out, self._cluster, self._size = out, cluster, size
        self._entries = cluster // 8
        self._l1 = [0] * -(-size // (cluster * self._entries))
        self._l2, self._current = [0] * self._entries, -1
        self._end = 0  # of all clusters in use
        self._tail = 0  # where the last compressed cluster ended
        self._refcounts = array("H")
        self._take(1)

    def add(self, number: int, content: bytes) -> None:
        """The cluster of this number of the disk, compressed, or as long as a cluster. In the disk's order."""
        if number // self._entries != self._current:
            self._close_l2()
            self._current = number // self._entries
        if len(content) == self._cluster:
            offset = self._take(1)
            entry = _COPIED | offset
        else:
            offset = self._packed(len(content))
            entry = descriptor(self._cluster, offset, len(content))
        self._l2[number % self._entries] = entry
        self._out.put(offset, content)

    def finish(self, plan: Plan) -> None:
        """Write all that is left, the header last."""
        self._close_l2()
        l1 = self._stored(_big(self._l1))
        table, clusters = self._store_refcounts()
        self._out.put(0, header(self._cluster, self._size, (l1, len(self._l1)), (table, clusters), plan))
        self._out.flush()
        os.ftruncate(self._out.file, self._end)

    def _take(self, count: int) -> int:
        """Whole clusters for one thing: their offset."""
        offset = self._end
        self._refcounts.extend([1] * count)
        self._end += count * self._cluster
        return offset

    def _stored(self, data: bytes) -> int:
        offset = self._take(-(-len(data) // self._cluster))
        self._out.put(offset, data)
        return offset

    def _packed(self, length: int) -> int:
        """Where so many compressed bytes go: after the last ones while there is room, otherwise into a new cluster.

        A cluster in the image is counted once for each compressed one that it has a part of.
        """
        room = -self._tail % self._cluster
        if not room or (length > room and self._tail + room != self._end):
            self._tail = self._end
        offset, self._tail = self._tail, self._tail + length
        for number in range(offset // self._cluster, -(-self._tail // self._cluster)):
            if number == len(self._refcounts):
                self._refcounts.append(0)
                self._end += self._cluster
            self._refcounts[number] += 1
        return offset

    def _close_l2(self) -> None:
        if self._current >= 0:
            self._l1[self._current] = _COPIED | self._stored(_big(self._l2))
            self._l2 = [0] * self._entries

    def _store_refcounts(self) -> tuple[int, int]:
        """Write refcount blocks and table, which count themselves too; the table's offset and number of clusters."""
        in_block = self._cluster // _REFCOUNT_BYTES
        blocks = table = 0
        while True:
            total = len(self._refcounts) + blocks + table
            more = -(-total // in_block), -(-total // in_block // self._entries)
            if more == (blocks, table):
                break
            blocks, table = more
        first = self._take(blocks)
        offset = self._take(table)
        if sys.byteorder == "little":
            self._refcounts.byteswap()
        self._out.put(first, self._refcounts.tobytes())
        self._out.put(offset, _big([first + number * self._cluster for number in range(blocks)]))
        return offset, table


def _big(numbers: Sequence[int]) -> bytes:
    return struct.pack(f">{len(numbers)}Q", *numbers)
