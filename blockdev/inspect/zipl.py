"""What s390x firmware finds on a disk: the boot record in its first block, and where its tables lead. Pure.

The format is described in ``blockdev.bootloader.zipl.tables``; here it is read by itself, also as zipl writes it, with
a loader of its own before the kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from blockdev.bootloader.zipl.tables import MAGIC, POINTER
from blockdev.inspect.bytes_view import View
from blockdev.inspect.model import Content

_LOAD, _EXECUTE = 2, 1
_MOST_TABLES = 4096  # segment tables of one component; a chain that is longer goes in a circle
_ADDRESS = 0x7FFFFFFF  # of a program status word in its short form
_MARK_AT, _MARK = 8, b"S390EP"  # behind the entry of Linux


@dataclass(frozen=True)
class Program:
    """What is loaded: the runs of each part as (first byte, bytes) on the disk, its address, and where it begins."""

    parts: tuple[tuple[int, tuple[tuple[int, int], ...]], ...]
    entry: int

    @property
    def bytes(self) -> int:
        """How much is loaded."""
        return sum(length for _, runs in self.parts for _, length in runs)


def is_record(sector: bytes) -> bool:
    """Does the disk's first sector lead to a program table."""
    return sector[:4] == MAGIC


def content(view: View) -> Content | None:
    """A program table at the begin of a partition, as dib-ctr puts it there."""
    first = view.read(0, 32)
    if len(first) < 32 or first[:16] != MAGIC.ljust(16, b"\0"):
        return None
    block, size, more = POINTER.unpack_from(first, 16)
    return Content("zipl") if block and size in (512, 4096) and not more else None


def program(view: View, sector: int) -> Program:
    """The program that starts by itself on a disk with sectors of ``sector`` bytes; ValueError says what is wrong."""
    record = view.read(0, 32)
    table = _block(view, _first(record, 16), sector, "program table")
    components = _block(view, _first(table, 16), sector, "component table")
    parts: list[tuple[int, tuple[tuple[int, int], ...]]] = []
    for at in range(32, sector, 32):
        pointer, kind, value = components[at : at + 16], components[at + 23], components[at + 24 : at + 32]
        number = int.from_bytes(value, "big")
        if kind == _EXECUTE:
            return Program(tuple(parts), number & _ADDRESS)
        if kind == _LOAD:
            parts.append((number, tuple(_runs(view, _first(pointer, 0), sector))))
    raise ValueError("the component table does not say where the program begins")


def is_linux(view: View, program: Program) -> bool:
    """Does the program begin with a kernel, without a loader before it?"""
    start = next((runs[0][0] for address, runs in program.parts if address == program.entry and runs), None)
    return start is not None and view.read(start + _MARK_AT, len(_MARK)) == _MARK


def _first(data: bytes, at: int) -> int:
    block: int = POINTER.unpack_from(data, at)[0]
    return block


def _block(view: View, number: int, sector: int, what: str) -> bytes:
    if not 0 < number < view.size // sector:
        raise ValueError(f"the {what} is said to be in sector {number}, which the disk does not have")
    block = view.read(number * sector, sector)
    if block[:4] != MAGIC:
        raise ValueError(f"there is no {what} in sector {number}")
    return block


def _runs(view: View, table: int, sector: int) -> Iterator[tuple[int, int]]:
    """The runs that a chain of segment tables names."""
    for _ in range(_MOST_TABLES):
        if not 0 < table < view.size // sector:
            raise ValueError(f"a segment table is said to be in sector {table}, which the disk does not have")
        pointers = list(POINTER.iter_unpack(view.read(table * sector, sector)))
        for block, _, more in pointers[:-1]:
            if not block:
                return
            if (block + more + 1) * sector > view.size:
                raise ValueError(f"the program is said to be in sector {block}, which the disk does not have")
            yield block * sector, (more + 1) * sector
        table = pointers[-1][0]
        if not table:
            return
    raise ValueError("its segment tables go in a circle")
