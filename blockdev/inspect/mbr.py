"""The partition table of a master boot record, with the chain of extended boot records behind it. Pure.

UEFI 2.10, section 5.2; the chain is described nowhere but in what operating systems do: in each extended boot record
one entry is a logical partition, counted from this record, and one the next record, counted from the first.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from blockdev.inspect import typenames
from blockdev.inspect.bytes_view import View
from blockdev.inspect.model import Partition, Table

EXTENDED = frozenset({0x05, 0x0F, 0x85})
_MOST_LOGICAL = 256  # Linux shows no more than that of a disk


@dataclass(frozen=True)
class PartitionEntry:
    """One of the four entries of a boot record; ``start`` and ``count`` are in sectors."""

    slot: int
    active: bool
    type: int
    start: int
    count: int


def entries(record: bytes) -> list[PartitionEntry] | None:
    """The used entries of a boot record (512 bytes); None where it is none: no signature, or no flags."""
    if record[510:512] != b"\x55\xaa":
        return None
    partitions = []
    for slot in range(4):
        status, kind, start, count = struct.unpack_from("<B3xB3xII", record, 446 + 16 * slot)
        if status not in (0, 0x80):
            return None
        if kind and count:
            partitions.append(PartitionEntry(slot + 1, status == 0x80, kind, start, count))
    return partitions


def is_volume(record: bytes) -> bool:
    """Is this the boot sector of a FAT, exFAT or NTFS volume, which ends with the same two bytes?"""
    if record[3:11] in (b"NTFS    ", b"EXFAT   ", b"-FVE-FS-"):
        return True
    sector, cluster, reserved, fats = struct.unpack_from("<HBHB", record, 11)
    media = record[21]
    return (
        (record[0] == 0xE9 or (record[0] == 0xEB and record[2] == 0x90))
        and sector in (512, 1024, 2048, 4096)
        and cluster.bit_count() == 1
        and reserved > 0
        and fats in (1, 2)
        and (media == 0xF0 or media >= 0xF8)
    )


def read(view: View, sector: int) -> Table | None:
    """The table of a disk with sectors of this size; None where there is none."""
    record = view.read(0, 512)
    used = entries(record)
    if used is None:
        return None
    if is_volume(record) and not all(
        (used_entry.start + used_entry.count) * sector <= view.size for used_entry in used
    ):
        return None  # its code, taken for entries
    if is_volume(record) and not used:
        return None
    identifier = f"{struct.unpack_from('<I', record, 440)[0]:08x}"
    remarks: list[str] = []
    partitions = [_partition(used_entry, used_entry.slot, used_entry.start, identifier, sector) for used_entry in used]
    for used_entry in used:
        if used_entry.type in EXTENDED:
            first = max([4, *(p.number for p in partitions)]) + 1
            chain = _chain(view, used_entry, sector, remarks)
            partitions += [
                _partition(entry, number, start, identifier, sector, "logical")
                for number, (entry, start) in enumerate(chain, first)
            ]
    if sum(used_entry.active for used_entry in used) > 1:
        remarks.append("more than one partition is marked as active")
    return Table("mbr", identifier, sector, tuple(partitions), tuple(remarks))


def _partition(
    entry: PartitionEntry, number: int, start: int, identifier: str, sector: int, kind: str = ""
) -> Partition:
    return Partition(
        number=number,
        name="",
        type=f"{entry.type:02x}",
        type_name=typenames.mbr(entry.type),
        uuid=f"{identifier}-{number:02x}",
        start=start * sector,
        length=entry.count * sector,
        bootable=entry.active,
        kind=kind or ("extended" if entry.type in EXTENDED else "primary"),
    )


def _chain(
    view: View, extended: PartitionEntry, sector: int, remarks: list[str]
) -> Iterator[tuple[PartitionEntry, int]]:
    """The logical partitions of an extended one, each with its absolute first sector."""
    number, seen, count = extended.start, set[int](), 0
    while True:
        if number in seen:
            remarks.append(f"the chain of logical partitions comes back to sector {number}: it was cut there")
            return
        seen.add(number)
        links = entries(view.read(number * sector, 512)) if (number + 1) * sector <= view.size else None
        if links is None:
            remarks.append(f"there is no extended boot record at sector {number}, where the chain of them leads")
            return
        following = None
        for entry in links:
            if entry.type in EXTENDED:
                following = following if following is not None else extended.start + entry.start
                continue
            if count == _MOST_LOGICAL:
                remarks.append(f"there are more than {_MOST_LOGICAL} logical partitions: the others were left out")
                return
            count += 1
            yield entry, number + entry.start
        if following is None:
            return
        if not extended.start <= following < extended.start + extended.count:
            remarks.append(f"the chain of logical partitions leads to sector {following}, outside of the extended one")
        number = following
