"""What `disk inspect` found in an image, as people see it."""

from __future__ import annotations

from collections.abc import Sequence

from blockdev.configuration.sizes import shown
from blockdev.inspect.model import Content, Inspection, Partition, Region
from builder.disk_view.layout import bar
from builder.progress.report import table

_SMALL = 1 << 20  # bytes of free space that are not drawn: alignment, and the tables themselves
_LEAST = 4  # columns of a part of the bar, with its border
_KINDS = {"gpt": "GPT", "mbr": "MBR", "none": "no partition table"}
_WAYS = {"bios": "BIOS", "uefi": "UEFI", "openfirmware": "Open Firmware", "channel": "channel I/O"}
_ABSENT = {"openfirmware": "there is no PReP", "channel": "there is no zIPL"}  # what is not worth a line
_HEAD = ("", "start", "size", "type", "holds", "label", "uuid")


def draw(found: Inspection, width: int = 100) -> str:
    """An inspection in lines; the bar has at most ``width`` columns."""
    parts = [_first(found), _second(found), _bar(found, width), "", table([_HEAD, *_rows(found)]), "", *_boot(found)]
    if found.system:
        parts += ["", f"system on {found.system.where}: {_plain(found.system.name) or 'it has no name'}"]
        if found.system.fstab:
            parts += ["/etc/fstab", *(f"  {_plain(line)}" for line in found.system.fstab.splitlines())]
    remarks = all_remarks(found)
    return "\n".join([*parts, *(["", *(f"remark: {_plain(one)}" for one in remarks)] if remarks else [])])


def all_remarks(found: Inspection) -> list[str]:
    """The remarks of all parts; those about what a partition holds name it."""
    said = [*found.table.remarks, *found.boot.remarks, *found.remarks]
    for place in found.places:
        home = f"partition {place.partition.number}: " if place.partition else ""
        said += [home + one for one in place.content.remarks]
        if place.group:
            said += [home + one for one in place.group.remarks]
            for volume in place.group.volumes:
                said += [f"{place.group.name}/{volume.name}: {one}" for one in volume.content.remarks]
    return said


def _first(found: Inspection) -> str:
    sizes = f"{shown(found.size)} ({found.size} bytes), {shown(found.allocated)} on disk"
    return f"{_plain(found.path)}: {found.format}, {sizes}"


def _second(found: Inspection) -> str:
    kind = _KINDS[found.table.kind]
    identifier = f" {found.table.id}" if found.table.id else ""
    sector = "" if found.table.sector_size == 512 else f", sectors of {found.table.sector_size} bytes"
    return f"{kind}{identifier}{sector}"


# -- the bar --------------------------------------------------------------------------------


def _bar(found: Inspection, width: int) -> str:
    return bar(fitting(cells(found.places, found.size), width), found.size, width)


def cells(places: Sequence[Region], size: int) -> list[tuple[str, int]]:
    """Name and length (bytes) of each part of a disk in its order, free space with an empty name; no part overlaps."""
    made: list[tuple[str, int]] = []
    at = 0
    parts = [place for place in places if place.partition] or places
    for place in sorted(parts, key=lambda one: one.start):
        start, end = min(max(place.start, at), size), min(place.start + place.length, size)
        if end <= start:
            continue
        if start - at > _SMALL:
            made.append(("", start - at))
        name = f"{place.partition.number} {place.content.kind}" if place.partition else place.content.kind
        made.append((name, end - start))
        at = end
    if size - at > 2 * _SMALL or not made:
        made.append(("", size - at))
    return made


def fitting(parts: Sequence[tuple[str, int]], width: int) -> list[tuple[str, int]]:
    """The parts of a bar, the smallest neighbours put together where there are more than ``width`` columns can show."""
    left = list(parts)
    while len(left) > 1 and len(left) * _LEAST + 1 > width:
        first = min(range(len(left) - 1), key=lambda at: left[at][1] + left[at + 1][1])
        left[first : first + 2] = [("...", left[first][1] + left[first + 1][1])]
    return left


# -- the table ------------------------------------------------------------------------------


def _rows(found: Inspection) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for one in found.table.partitions:
        place = next((place for place in found.places if place.partition == one), None)
        kind = ", ".join(part for part in (one.type_name or one.type, one.name, "boot" if one.bootable else "") if part)
        head = (str(one.number), *_measures(one), _plain(kind))
        rows += _below(head, place) if place else [(*head, "", "", "")]
    for place in found.places:
        if place.partition is None:
            rows += _below(("", "0", shown(place.length), "whole disk"), place)
    return rows


def _measures(one: Partition) -> tuple[str, str]:
    return str(one.start), shown(one.length)


def _below(head: tuple[str, ...], place: Region) -> list[tuple[str, ...]]:
    """The row of a place, and those of the volumes on it."""
    group = place.group
    holds = f"LVM group {group.name}" if group else holding(place.content)
    rows = [(*head, _plain(holds), _plain(place.content.label), _plain(place.content.uuid))]
    for volume in group.volumes if group else ():
        start = "" if volume.offset is None else str(volume.offset)
        inside = tuple(_plain(one) for one in (holding(volume.content), volume.content.label, volume.content.uuid))
        rows.append(("", start, shown(volume.size), f"  volume {_plain(volume.name)}", *inside))
    return rows


def holding(content: Content) -> str:
    """What a region holds, in a few words."""
    details = content.details
    if content.kind == "vfat":
        return f"vfat (FAT{details['fat']})"
    if content.kind == "luks":
        return f"LUKS{details['version']} {details.get('cipher', '')}".rstrip()
    if content.kind == "squashfs":
        return f"squashfs ({details['compression']})"
    if content.kind == "unknown":
        return f"unknown ({details['first_bytes'][:23]})"
    if content.free is not None and content.size:
        return f"{content.kind}, {100 - 100 * min(content.free, content.size) // content.size}% used"
    return content.kind


# -- booting --------------------------------------------------------------------------------


def _boot(found: Inspection) -> list[str]:
    lines = []
    for name, way in found.boot.ways.items():
        if not way.possible and _ABSENT.get(name, "\n") in way.why:
            continue
        lines.append(f"boots by {_WAYS[name]}: {'yes' if way.possible else 'no'}, {_plain(way.why)}")
    for one in found.boot.loaders:
        signed = "signed" if one.signed else "not signed"
        said = "".join(f", {key} {value}" for key, value in one.details.items() if key != "sbat")
        machine = f" {one.machine}, {signed}" if one.machine else ""
        lines.append(_plain(f"  partition {one.partition}: {one.path}: {one.kind}{machine}{said}"))
    return lines


def _plain(text: str) -> str:
    """A text of the image's without anything that a terminal would obey."""
    spaced = text.expandtabs(8)
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in spaced)
