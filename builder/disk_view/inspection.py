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


def draw(inspection: Inspection, width: int = 100) -> str:
    """An inspection in lines; the bar has at most ``width`` columns."""
    parts = [
        _first(inspection),
        _second(inspection),
        _bar(inspection, width),
        "",
        table([_HEAD, *_rows(inspection)]),
        "",
        *_boot(inspection),
    ]
    if inspection.system:
        parts += ["", f"system on {inspection.system.where}: {_plain(inspection.system.name) or 'it has no name'}"]
        if inspection.system.fstab:
            parts += ["/etc/fstab", *(f"  {_plain(line)}" for line in inspection.system.fstab.splitlines())]
    remarks = all_remarks(inspection)
    return "\n".join([*parts, *(["", *(f"remark: {_plain(remark)}" for remark in remarks)] if remarks else [])])


def all_remarks(inspection: Inspection) -> list[str]:
    """The remarks of all parts; those about what a partition holds name it."""
    remarks = [*inspection.table.remarks, *inspection.boot.remarks, *inspection.remarks]
    for region in inspection.places:
        home = f"partition {region.partition.number}: " if region.partition else ""
        remarks += [home + remark for remark in region.content.remarks]
        if region.group:
            remarks += [home + remark for remark in region.group.remarks]
            for volume in region.group.volumes:
                remarks += [f"{region.group.name}/{volume.name}: {remark}" for remark in volume.content.remarks]
    return remarks


def _first(inspection: Inspection) -> str:
    sizes = f"{shown(inspection.size)} ({inspection.size} bytes), {shown(inspection.allocated)} on disk"
    return f"{_plain(inspection.path)}: {inspection.format}, {sizes}"


def _second(inspection: Inspection) -> str:
    kind = _KINDS[inspection.table.kind]
    identifier = f" {inspection.table.id}" if inspection.table.id else ""
    sector = "" if inspection.table.sector_size == 512 else f", sectors of {inspection.table.sector_size} bytes"
    return f"{kind}{identifier}{sector}"


# -- the bar --------------------------------------------------------------------------------


def _bar(inspection: Inspection, width: int) -> str:
    return bar(fitting(cells(inspection.places, inspection.size), width), inspection.size, width)


def cells(places: Sequence[Region], size: int) -> list[tuple[str, int]]:
    """Name and length (bytes) of each part of a disk in its order, free space with an empty name; no part overlaps."""
    result: list[tuple[str, int]] = []
    at = 0
    parts = [region for region in places if region.partition] or places
    for region in sorted(parts, key=lambda part: part.start):
        start, end = min(max(region.start, at), size), min(region.start + region.length, size)
        if end <= start:
            continue
        if start - at > _SMALL:
            result.append(("", start - at))
        name = f"{region.partition.number} {region.content.kind}" if region.partition else region.content.kind
        result.append((name, end - start))
        at = end
    if size - at > 2 * _SMALL or not result:
        result.append(("", size - at))
    return result


def fitting(parts: Sequence[tuple[str, int]], width: int) -> list[tuple[str, int]]:
    """The parts of a bar, the smallest neighbours put together where there are more than ``width`` columns can show."""
    left = list(parts)
    while len(left) > 1 and len(left) * _LEAST + 1 > width:
        first = min(range(len(left) - 1), key=lambda at: left[at][1] + left[at + 1][1])
        left[first : first + 2] = [("...", left[first][1] + left[first + 1][1])]
    return left


# -- the table ------------------------------------------------------------------------------


def _rows(inspection: Inspection) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for partition in inspection.table.partitions:
        region = next((region for region in inspection.places if region.partition == partition), None)
        kind = ", ".join(
            part
            for part in (partition.type_name or partition.type, partition.name, "boot" if partition.bootable else "")
            if part
        )
        head = (str(partition.number), *_measures(partition), _plain(kind))
        rows += _below(head, region) if region else [(*head, "", "", "")]
    for region in inspection.places:
        if region.partition is None:
            rows += _below(("", "0", shown(region.length), "whole disk"), region)
    return rows


def _measures(partition: Partition) -> tuple[str, str]:
    return str(partition.start), shown(partition.length)


def _below(head: tuple[str, ...], region: Region) -> list[tuple[str, ...]]:
    """The row of a place, and those of the volumes on it."""
    group = region.group
    holds = f"LVM group {group.name}" if group else holding(region.content)
    rows = [(*head, _plain(holds), _plain(region.content.label), _plain(region.content.uuid))]
    for volume in group.volumes if group else ():
        start = "" if volume.offset is None else str(volume.offset)
        inside = tuple(_plain(text) for text in (holding(volume.content), volume.content.label, volume.content.uuid))
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


def _boot(inspection: Inspection) -> list[str]:
    lines = []
    for name, way in inspection.boot.ways.items():
        if not way.possible and _ABSENT.get(name, "\n") in way.why:
            continue
        lines.append(f"boots by {_WAYS[name]}: {'yes' if way.possible else 'no'}, {_plain(way.why)}")
    for loader in inspection.boot.loaders:
        signed = "signed" if loader.signed else "not signed"
        details = "".join(f", {key} {value}" for key, value in loader.details.items() if key != "sbat")
        machine = f" {loader.machine}, {signed}" if loader.machine else ""
        lines.append(_plain(f"  partition {loader.partition}: {loader.path}: {loader.kind}{machine}{details}"))
    return lines


def _plain(text: str) -> str:
    """A text of the image's without anything that a terminal would obey."""
    spaced = text.expandtabs(8)
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in spaced)
