"""A layout as people see it: a bar for each disk, drawn to scale, and a table of what is where."""

from __future__ import annotations

from collections.abc import Sequence

from blockdev.configuration import types
from blockdev.configuration.sizes import shown
from blockdev.layout.model import DiskLayout, FileSystem, Layout, Slot
from builder.progress.report import table

_LEAST = 3  # columns of a partition, however small it is


def draw(layout: Layout, width: int = 100) -> str:
    """All disks of a layout in at most ``width`` columns, its table, and what there is to remark."""
    parts = []
    for disk in layout.disks:
        kind = {"gpt": "GPT", "mbr": "MBR", "": "no partitions"}[disk.table]
        sector = "" if disk.sector == 512 else f", sectors of {disk.sector} bytes"
        parts.append(f"{disk.name}: {shown(disk.size)} ({disk.size} bytes), {kind}{sector}")
        parts.append(bar(_cells(disk), disk.size, width))
        parts.append("")
    parts.append(table([_HEAD, *rows(layout)]))
    if layout.remarks:
        parts += ["", *layout.remarks]
    return "\n".join(parts)


def _cells(disk: DiskLayout) -> list[tuple[str, int]]:
    """Name and length of each part of a disk, free space ("") among them."""
    cells: list[tuple[str, int]] = []
    at = 0
    slots = [slot for slot in disk.slots if slot.kind != "extended"] or [Slot(0, disk.name, "", "", 0, disk.size)]
    for slot in slots:
        if slot.start - at > 1 << 20:
            cells.append(("", slot.start - at))
        cells.append((slot.name, slot.length))
        at = slot.end
    if disk.size - at > 2 << 20:
        cells.append(("", disk.size - at))
    return cells


def bar(cells: Sequence[tuple[str, int]], size: int, width: int) -> str:
    """Parts of ``size`` bytes as a bar: each as wide as its share, and wide enough to be seen."""
    room = max(width - len(cells) - 1, _LEAST * len(cells))
    wide = [max(_LEAST, round(length / size * room)) for _, length in cells]
    while sum(wide) > room and max(wide) > _LEAST:
        wide[wide.index(max(wide))] -= 1
    while sum(wide) < room:
        wide[wide.index(max(wide))] += 1
    texts = [
        (name[:columns].center(columns) if name else "\N{LIGHT SHADE}" * columns)
        for (name, _), columns in zip(cells, wide, strict=True)
    ]
    lines = ["\N{BOX DRAWINGS LIGHT HORIZONTAL}" * columns for columns in wide]
    return "\n".join(
        [
            "\N{BOX DRAWINGS LIGHT DOWN AND RIGHT}"
            + "\N{BOX DRAWINGS LIGHT DOWN AND HORIZONTAL}".join(lines)
            + "\N{BOX DRAWINGS LIGHT DOWN AND LEFT}",
            "\N{BOX DRAWINGS LIGHT VERTICAL}"
            + "\N{BOX DRAWINGS LIGHT VERTICAL}".join(texts)
            + "\N{BOX DRAWINGS LIGHT VERTICAL}",
            "\N{BOX DRAWINGS LIGHT UP AND RIGHT}"
            + "\N{BOX DRAWINGS LIGHT UP AND HORIZONTAL}".join(lines)
            + "\N{BOX DRAWINGS LIGHT UP AND LEFT}",
        ]
    )


_HEAD = ("", "name", "start", "size", "type", "holds", "label", "mounted on")


def rows(layout: Layout) -> list[tuple[str, ...]]:
    """A row for each part: partitions, and what lies on them one step to the right."""
    result: list[tuple[str, ...]] = []
    for disk in layout.disks:
        if not disk.table:
            result += _below(layout, disk.name, ("", disk.name, "0", shown(disk.size), "disk"), 0)
        for slot in disk.slots:
            kind = types.name(slot.type) + (", boot" if slot.bootable else "")
            first = (str(slot.number), slot.name or "(extended)", str(slot.start), shown(slot.length), kind)
            result += _below(layout, slot.name, first, 0) if slot.name else [(*first, "", "", "")]
    return result


def _below(layout: Layout, storage: str, first: tuple[str, ...], depth: int) -> list[tuple[str, ...]]:
    """The row of a storage and those of all on it."""
    system = next((entry for entry in layout.file_systems if entry.storage == storage), None)
    rows = [(*first, *_system(system))]
    step = "  " * (depth + 1)
    for container in layout.luks:
        if container.on == storage:
            opened = layout.storages[container.name]
            rows[0] = (*first, "LUKS2", container.label, "")
            rows += _below(layout, container.name, ("", step + container.name, "", shown(opened.size), ""), depth + 1)
    for group in layout.groups:
        members = [on for _, on in group.physical]
        if storage in members:
            rows[0] = (*first, f"LVM group {group.name}", "", "")
        if storage == members[0]:
            for volume in group.logical:
                size = layout.storages[volume.name].size
                rows += _below(layout, volume.name, ("", step + volume.name, "", shown(size), "volume"), depth + 1)
    for entry in layout.verity:
        if entry.hashes == storage:
            rows[0] = (*first, f"verity of {entry.on}", "", "")
    return rows


def _system(system: FileSystem | None) -> tuple[str, str, str]:
    if system is None:
        return "", "", ""
    return system.kind, system.label, "swap" if system.point == "none" else system.point
