"""Which partition table a disk has, and what is odd about it. Pure; UEFI 2.10, chapter 5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from blockdev.inspect import gpt, mbr
from blockdev.inspect.bytes_view import View
from blockdev.inspect.model import Partition, Table
from blockdev.layout.table import PROTECTIVE

SECTOR_SIZES = (512, 4096)


def read(view: View, sector_size: int | None = None) -> Table:
    """The partition table of a disk; its sector size is what a GPT shows, else 512, if it is not given.

    Raises BuildError where there was a GPT of which neither copy can be read.
    """
    sizes = (sector_size,) if sector_size else SECTOR_SIZES
    record = view.read(0, 512)
    used = mbr.entries(record)
    types = [entry.type for entry in used or ()]
    gpt_sector = gpt.find(view, sizes)
    remarks: list[str] = []
    if PROTECTIVE in types or (gpt_sector and not types and not (gpt_sector and mbr.is_volume(record))):
        table = gpt.read(view, gpt_sector or sizes[0])
        if not types:
            remarks.append("there is no protective MBR before the GPT: firmware and Linux see no table")
        elif any(kind != PROTECTIVE for kind in types):
            remarks.append("the MBR before the GPT is a hybrid one: it names partitions of its own")
    else:
        table = mbr.read(view, sizes[0]) or Table("none", "", sizes[0], ())
        if gpt_sector and table.kind == "mbr":
            remarks.append("there is a GPT as well, which the MBR does not speak of: it may be an old one")
    return replace(table, remarks=(*remarks, *table.remarks, *oddities(table.partitions, view.size)))


def oddities(partitions: Sequence[Partition], size: int) -> list[str]:
    """Sentences about partitions that overlap, lie outside of a disk of ``size`` bytes, or are out of order."""
    problems = []
    for partition in partitions:
        if not partition.length:
            problems.append(f"partition {partition.number} ends before it begins")
        elif partition.end > size:
            problems.append(f"partition {partition.number} ends {partition.end - size} bytes after the end of the disk")
    plain = sorted(
        (partition for partition in partitions if partition.kind != "extended" and partition.length),
        key=lambda partition: partition.start,
    )
    furthest: Partition | None = None
    for partition in plain:
        if furthest and partition.start < furthest.end:
            problems.append(f"partitions {furthest.number} and {partition.number} overlap")
        furthest = partition if furthest is None or partition.end > furthest.end else furthest
    problems += _about_extended(partitions)
    for kinds in (("primary", "extended"), ("logical",)):
        starts = [partition.start for partition in partitions if partition.kind in kinds]
        if starts != sorted(starts):
            problems.append("the numbers of the partitions are not in the order of their places")
    return problems


def _about_extended(partitions: Sequence[Partition]) -> list[str]:
    """Sentences about how logical and primary partitions lie to the extended ones."""
    problems = []
    extended = [partition for partition in partitions if partition.kind == "extended"]
    for partition in partitions:
        if partition.kind == "logical" and not any(
            it.start < partition.start and partition.end <= it.end for it in extended
        ):
            problems.append(f"logical partition {partition.number} is not within the extended partition")
        if partition.kind == "primary" and partition.length:
            problems += [
                f"partitions {partition.number} and {it.number} overlap"
                for it in extended
                if partition.start < it.end and it.start < partition.end
            ]
    return problems
