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
    types = [one.type for one in used or ()]
    found = gpt.find(view, sizes)
    remarks: list[str] = []
    if PROTECTIVE in types or (found and not types and not (found and mbr.is_volume(record))):
        table = gpt.read(view, found or sizes[0])
        if not types:
            remarks.append("there is no protective MBR before the GPT: firmware and Linux see no table")
        elif any(kind != PROTECTIVE for kind in types):
            remarks.append("the MBR before the GPT is a hybrid one: it names partitions of its own")
    else:
        table = mbr.read(view, sizes[0]) or Table("none", "", sizes[0], ())
        if found and table.kind == "mbr":
            remarks.append("there is a GPT as well, which the MBR does not speak of: it may be an old one")
    return replace(table, remarks=(*remarks, *table.remarks, *oddities(table.partitions, view.size)))


def oddities(partitions: Sequence[Partition], size: int) -> list[str]:
    """Sentences about partitions that overlap, lie outside of a disk of ``size`` bytes, or are out of order."""
    said = []
    for one in partitions:
        if not one.length:
            said.append(f"partition {one.number} ends before it begins")
        elif one.end > size:
            said.append(f"partition {one.number} ends {one.end - size} bytes after the end of the disk")
    plain = sorted((one for one in partitions if one.kind != "extended" and one.length), key=lambda one: one.start)
    furthest: Partition | None = None
    for one in plain:
        if furthest and one.start < furthest.end:
            said.append(f"partitions {furthest.number} and {one.number} overlap")
        furthest = one if furthest is None or one.end > furthest.end else furthest
    said += _about_extended(partitions)
    for kinds in (("primary", "extended"), ("logical",)):
        starts = [one.start for one in partitions if one.kind in kinds]
        if starts != sorted(starts):
            said.append("the numbers of the partitions are not in the order of their places")
    return said


def _about_extended(partitions: Sequence[Partition]) -> list[str]:
    """Sentences about how logical and primary partitions lie to the extended ones."""
    said = []
    extended = [one for one in partitions if one.kind == "extended"]
    for one in partitions:
        if one.kind == "logical" and not any(it.start < one.start and one.end <= it.end for it in extended):
            said.append(f"logical partition {one.number} is not within the extended partition")
        if one.kind == "primary" and one.length:
            said += [
                f"partitions {one.number} and {it.number} overlap"
                for it in extended
                if one.start < it.end and it.start < one.end
            ]
    return said
