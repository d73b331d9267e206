"""Where the partitions of one disk lie, as diskimage-builder places them: pure arithmetic on bytes.

* MBR: the first partition begins one alignment unit into the disk, sizes are whole sectors of 512 bytes, each next
  partition begins at the next unit. Logical partitions lie in an extended one that takes the rest of the disk, each
  after one unit for its table. A percentage is one of the disk less what is taken and less one unit.
* GPT: the first partition begins at 1 MiB, sizes are whole MiB; a percentage is one of the disk less 2 MiB and less
  what was asked for before it, not yet cut to whole MiB.
* In configurations of version 2 a percentage is one of the whole usable space, ``rest`` what is left, and partitions
  of a GPT begin at multiples of ``align``.
"""

from __future__ import annotations

from collections.abc import Sequence

from blockdev.configuration import types
from blockdev.configuration.check import refuse
from blockdev.configuration.nodes import Disk, Partition, Table
from blockdev.configuration.read import STRICT
from blockdev.configuration.sizes import shown
from blockdev.core.derived_ids import guid
from blockdev.core.units import SECTOR
from blockdev.layout.model import Slot

MIB = 1 << 20
_GPT_ENTRIES = 128 * 128
FIRST_LOGICAL = 5


def up(value: int, unit: int) -> int:
    """The next multiple of ``unit``."""
    return -(-value // unit) * unit


def gpt_tail(sector: int) -> int:
    """Bytes at the end of a disk that the second GPT takes (UEFI specification 2.10, section 5.3)."""
    return sector + up(_GPT_ENTRIES, sector)


def place_partitions(disk: Disk, table: Table, size: int, *, version: int, seed: str) -> tuple[Slot, ...]:
    """The partitions of a disk of ``size`` bytes; UsageError, naming the first that has no room."""
    if table.label == "gpt":
        return _gpt(disk, table, size, version, seed)
    return _mbr(table, size, version)


def _asked(partition: Partition, version: int, whole: int, free: int, left: int) -> int:
    """Bytes that a partition asks for.

    Of ``whole`` usable bytes ``free`` are not taken, by diskimage-builder's count, and ``left`` in truth.
    """
    if partition.size.rest:
        return left
    return partition.size.of(whole if version >= STRICT else free)


def _sum_of_percents(table: Table, version: int) -> None:
    total = sum(part.size.percent or 0 for part in table.partitions if not part.size.rest)
    if version >= STRICT and total > 100:
        refuse(
            table, f"its partitions come to {total:g}% of the disk", "expected: 100% at most; rest takes what is left"
        )


def _no_room(partition: Partition, size: int, asked: int, free: int) -> None:
    refuse(
        partition,
        f"it wants {shown(asked)}, and {shown(max(free, 0))} of the disk's {shown(size)} are left",
        "make the image larger (--image-size), or a partition smaller",
        "size",
    )


def _gpt(disk: Disk, table: Table, size: int, version: int, seed: str) -> tuple[Slot, ...]:
    _sum_of_percents(table, version)
    align = max(table.align, MIB) if version >= STRICT else MIB
    end = size // disk.block_size * disk.block_size - gpt_tail(disk.block_size)
    slots: list[Slot] = []
    at, taken = align, 0  # taken: as it was asked for
    for number, partition in enumerate(table.partitions, 1):
        free = size - 2 * MIB - taken
        asked = _asked(partition, version, size - 2 * MIB, free, end - at)
        length = asked // MIB * MIB
        if length <= 0 and at + MIB <= end:
            refuse(
                partition,
                f"it comes to {max(asked, 0)} bytes, and partitions of a gpt are whole MiB",
                "1MiB at least, or 100% for all that is left (sgdisk would take 0 for that)",
                "size",
            )
        if length <= 0 or at + length > end:
            _no_room(partition, size, max(length, MIB), end - at)
        slots.append(
            Slot(
                number,
                partition.name,
                "gpt",
                types.of_gpt(partition.type),
                at,
                length,
                uuid=(partition.uuid or guid(seed, disk.name, partition.name)).upper(),
                label=partition.label or partition.name,
            )
        )
        at, taken = up(at + length, align), taken + asked
    return tuple(slots)


def _mbr(table: Table, size: int, version: int) -> tuple[Slot, ...]:
    _sum_of_percents(table, version)
    align = table.align
    slots: list[Slot] = []
    at, logical = align, 0
    for partition in table.partitions:
        free = size - (at + align)
        left = size - at - (0 if partition.primary else align)
        length = _asked(partition, version, size - 2 * align, free, left) // SECTOR * SECTOR
        if partition.primary:
            start, number, kind = at, len(slots) + 1, "primary"
        else:
            if not logical:
                slots.append(_extended(slots, at, size))
            start, number, kind = at + align, FIRST_LOGICAL + logical, "logical"
            logical += 1
        if length <= 0 or start + length > size:
            _no_room(partition, size, max(length, SECTOR), size - start)
        slots.append(
            Slot(number, partition.name, kind, types.of_mbr(partition.type), start, length, bootable=partition.boot)
        )
        at = up(start + length, align)
    return tuple(slots)


def _extended(slots: Sequence[Slot], at: int, size: int) -> Slot:
    return Slot(len(slots) + 1, "", "extended", types.MBR_EXTENDED, at, (size - at) // SECTOR * SECTOR)
