"""The GUID partition table: both headers and arrays with their checksums. Pure. UEFI 2.10, sections 5.3.2 and 5.3.3."""

from __future__ import annotations

import struct
import uuid
import zlib
from dataclasses import dataclass

from blockdev.core.errors import BuildError
from blockdev.inspect import typenames
from blockdev.inspect.bytes_view import View, text
from blockdev.inspect.model import Partition, Table

_SIGNATURE = b"EFI PART"
_HEADER = struct.Struct("<8sIIII4Q16sQIII")
_LEAST_HEADER = 92
_MOST_ARRAY = 16 << 20  # bytes; usual are 16 KiB
_LEGACY_BOOT = 2


@dataclass(frozen=True)
class Header:
    """A header whose own checksum is right; all places are in sectors."""

    sector: int
    other: int
    first_usable: int
    last_usable: int
    disk: str
    array_place: int
    count: int
    entry_size: int
    array_crc: int


@dataclass(frozen=True)
class Half:
    """One of the two copies: its header and the array, with whether the array's checksum is right."""

    header: Header
    array: bytes
    sound: bool


def guid(raw: bytes) -> str:
    """A GUID as text: its first three fields are little-endian (UEFI 2.10, appendix A)."""
    return str(uuid.UUID(bytes_le=raw)).upper()


def header(view: View, number: int, sector: int) -> Header | str:
    """The header at a sector, or what is wrong with it (the end of a sentence)."""
    raw = view.read(number * sector, sector)
    if number < 1 or (number + 1) * sector > view.size or raw[:8] != _SIGNATURE:
        return "is not there"
    (_, _, size, crc, _, mine, other, first, last, disk, array, count, entry, array_crc) = _HEADER.unpack_from(raw)
    if not _LEAST_HEADER <= size <= sector:
        return f"has an impossible length of {size} bytes"
    if zlib.crc32(raw[:16] + bytes(4) + raw[20:size]) != crc:
        return "is damaged: its checksum is wrong"
    if mine != number:
        return f"says that it is at sector {mine}, and is at {number}"
    if entry < 128 or entry % 8 or entry * count > _MOST_ARRAY:
        return f"has an impossible array of {count} entries of {entry} bytes"
    if array * sector + entry * count > view.size:
        return "has its array outside of the disk"
    return Header(mine, other, first, last, guid(disk), array, count, entry, array_crc)


def _half(view: View, number: int, sector: int) -> Half | str:
    head = header(view, number, sector)
    if isinstance(head, str):
        return head
    array = view.read(head.array_place * sector, head.count * head.entry_size)
    return Half(head, array, zlib.crc32(array) == head.array_crc)


def find(view: View, sectors: tuple[int, ...] = (512, 4096)) -> int | None:
    """The sector size for which there is something of a GPT; None where there is nothing of one."""
    for sector in sectors:
        if view.read(sector, 8) == _SIGNATURE:
            return sector
    for sector in sectors:
        if not isinstance(header(view, view.size // sector - 1, sector), str):
            return sector
    return None


def read(view: View, sector: int) -> Table:
    """The table of a disk with sectors of this size. BuildError where neither header can be read."""
    remarks: list[str] = []
    end = view.size // sector - 1
    primary = _half(view, 1, sector)
    backup = _half(view, end, sector)
    if isinstance(primary, Half):
        at = primary.header.other
        if at != end:
            elsewhere = _half(view, at, sector)
            if isinstance(elsewhere, Half) or isinstance(backup, str):
                backup = elsewhere
            remarks.append(
                f"the backup GPT is not at the end of the disk (sector {at}, the last one is {end}): "
                "sfdisk --relocate gpt-bak-std moves it"
            )
    chosen = _choose(primary, backup, remarks)
    partitions = tuple(_partitions(chosen, sector))
    first, last = chosen.header.first_usable * sector, (chosen.header.last_usable + 1) * sector
    remarks += [
        f"partition {partition.number} is not within the usable sectors of the GPT"
        for partition in partitions
        if partition.start < first or partition.end > last
    ]
    return Table("gpt", chosen.header.disk, sector, partitions, tuple(remarks))


def _choose(primary: Half | str, backup: Half | str, remarks: list[str]) -> Half:
    """The copy to believe: the primary one unless only the backup is whole."""
    for name, half in (("primary", primary), ("backup", backup)):
        if isinstance(half, str):
            remarks.append(f"the {name} GPT header {half}")
        elif not half.sound:
            remarks.append(f"the array of the {name} GPT is damaged: its checksum is wrong")
    halves = [half for half in (primary, backup) if isinstance(half, Half)]
    if not halves:
        raise BuildError(
            f"the GPT is damaged: {'; '.join(remarks)}",
            hint="nothing is left of the table; use another copy of the disk",
        )
    chosen = next((half for half in halves if half.sound), halves[0])
    if chosen is not primary:
        remarks.append("the backup GPT was read instead of the primary one")
    if len(halves) == 2 and all(half.sound for half in halves) and _meaning(halves[0]) != _meaning(halves[1]):
        remarks.append("the backup GPT differs from the primary one")
    return chosen


def _meaning(half: Half) -> tuple[object, ...]:
    return half.header.disk, half.header.first_usable, half.header.last_usable, half.array


def _partitions(half: Half, sector: int) -> list[Partition]:
    partitions = []
    size = half.header.entry_size
    for index in range(half.header.count):
        raw = half.array[index * size : (index + 1) * size]
        kind, own, first, last, flags, name = struct.unpack_from("<16s16sQQQ72s", raw)
        if not any(kind):
            continue
        partitions.append(
            Partition(
                number=index + 1,
                name=text(name, "utf-16-le"),
                type=guid(kind),
                type_name=typenames.gpt(guid(kind)),
                uuid=guid(own),
                start=first * sector,
                length=max(0, last - first + 1) * sector,
                bootable=bool(flags >> _LEGACY_BOOT & 1),
                attributes=typenames.attributes(flags),
            )
        )
    return partitions
