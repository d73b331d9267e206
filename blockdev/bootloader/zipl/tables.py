"""The tables by which s390x firmware finds a program on a disk of linear blocks: pure bytes, nothing is written here.

The format is the one that zipl writes for SCSI disks and that QEMU's firmware reads for virtio-blk and virtio-scsi
(s390-tools: zipl/include/boot.h and bootmap.h; QEMU: pc-bios/s390-ccw/bootmap.h). All numbers are big-endian. The boot
record in block 0 leads to the program table, each of its entries to a component table, which says what to load where,
by segment tables of block pointers, and where to begin.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MAGIC = b"zIPL"
BLOCK = 512  # bytes
_VERSION = 1
_LOAD, _EXECUTE = 2, 1
# A pointer: block, bytes of a block, how many more blocks follow the first.
POINTER = struct.Struct(">QHH4x")
_RECORD = struct.Struct(">4sI8x16s")
_PROGRAMS = struct.Struct(">4s12x")
_COMPONENTS = struct.Struct(">4sB27x")  # the type 0: a program to start, not a dump
_COMPONENT = struct.Struct(">16s7xBQ")
_POINTERS = BLOCK // POINTER.size - 1  # in a segment table; the last place is for the one that leads to the next
MOST_PROGRAMS = BLOCK // POINTER.size - 2
MOST_COMPONENTS = (BLOCK - _COMPONENTS.size) // _COMPONENT.size - 1
# Blocks that one pointer covers. The format allows 65536; a mebibyte is a transfer that no disk refuses.
_RUN = 2048
# A program status word in its short form: an enabled machine with addresses of 31 bits (Principles of Operation).
_STATUS = 0x0008_0000_8000_0000


@dataclass(frozen=True)
class Component:
    """Something to load: ``count`` blocks of the disk from block ``first`` on, to the ``address``."""

    first: int
    count: int
    address: int


def boot_record(programs: int) -> bytes:
    """The first 32 bytes of the disk, for a program table in block ``programs``."""
    return _RECORD.pack(MAGIC, _VERSION, _pointer(programs))


def program_table(components: Sequence[int]) -> bytes:
    """A block with a program for each component table; the first is what starts unless the operator says another."""
    if not 0 < len(components) <= MOST_PROGRAMS:
        raise ValueError(f"{len(components)} programs, and there is room for {MOST_PROGRAMS}")
    return _block(_PROGRAMS.pack(MAGIC) + b"".join(map(_pointer, components)))


def component_table(loads: Sequence[tuple[int, int]], entry: int) -> bytes:
    """A block with one program: pairs of a segment table's block and an address, and where the program begins."""
    if not 0 < len(loads) <= MOST_COMPONENTS:
        raise ValueError(f"{len(loads)} components, and there is room for {MOST_COMPONENTS}")
    rows = [_COMPONENT.pack(_pointer(table), _LOAD, address) for table, address in loads]
    return _block(_COMPONENTS.pack(MAGIC, 0) + b"".join(rows) + _COMPONENT.pack(bytes(16), _EXECUTE, _STATUS | entry))


def segment_blocks(count: int) -> int:
    """How many blocks the segment tables of ``count`` blocks take."""
    return -(-_runs(count) // _POINTERS)


def segment_tables(component: Component, at: int) -> Iterator[bytes]:
    """The segment tables of a component, which lie in a row from block ``at`` on."""
    runs = [
        _pointer(component.first + done, min(_RUN, component.count - done)) for done in range(0, component.count, _RUN)
    ]
    for number, first in enumerate(range(0, len(runs), _POINTERS), 1):
        more = first + _POINTERS < len(runs)
        yield _block(b"".join(runs[first : first + _POINTERS]) + (_pointer(at + number) if more else b""))


def _runs(count: int) -> int:
    return -(-count // _RUN)


def _pointer(block: int, count: int = 1) -> bytes:
    if block <= 0 or count <= 0:
        raise ValueError(f"{count} blocks from block {block} on are nothing to point at")
    return POINTER.pack(block, BLOCK, count - 1)


def _block(content: bytes) -> bytes:
    return content.ljust(BLOCK, b"\0")
