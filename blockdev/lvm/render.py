"""The text metadata of a group (version 1), spelled as lvm2 spells it: GRUB looks for these very lines. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from blockdev.core.units import SECTOR
from blockdev.lvm.model import LogicalVolume, PhysicalVolume, VolumeGroup

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.+-]*\Z", re.ASCII)


def render(group: VolumeGroup) -> str:
    """The metadata of a group of linear volumes, as its first version."""
    names = section_names(group.physical)
    parts = [
        f'{group.name} {{\nid = "{group.uuid}"\nseqno = 1\nformat = "lvm2"\n',
        'status = ["RESIZEABLE", "READ", "WRITE"]\nflags = []\n',
        f"extent_size = {group.extent_size // SECTOR}\nmax_lv = 0\nmax_pv = 0\nmetadata_copies = 0\n\n",
        "physical_volumes {\n",
        *(_physical(volume, names[volume.name]) for volume in group.physical),
        "}\n\n",
    ]
    if group.logical:
        parts += ["logical_volumes {\n", *(_logical(group, volume, names) for volume in group.logical), "}\n\n"]
    parts += [
        "}\n# Written by dib-ctr\n\n",
        'contents = "Text Format Volume Group"\nversion = 1\n\n',
        'description = "Written by dib-ctr"\n\n',
        f"creation_host = {_quoted(group.host)}\ncreation_time = {group.epoch}\n\n",
    ]
    return "".join(parts)


def section_names(physical: Iterable[PhysicalVolume]) -> dict[str, str]:
    """What each physical volume is called in the text: by its own name, or, where one is no word, pv0, pv1..."""
    names = [volume.name for volume in physical]
    if all(map(_PLAIN.match, names)):
        return {name: name for name in names}
    return {name: f"pv{number}" for number, name in enumerate(names)}


def _physical(volume: PhysicalVolume, name: str) -> str:
    return (
        f'\n{name} {{\nid = "{volume.uuid}"\n\nstatus = ["ALLOCATABLE"]\nflags = []\n'
        f"dev_size = {volume.size // SECTOR}\npe_start = {volume.start // SECTOR}\npe_count = {volume.extents}\n}}\n"
    )


def _logical(group: VolumeGroup, volume: LogicalVolume, names: Mapping[str, str]) -> str:
    head = (
        f'\n{volume.name} {{\nid = "{volume.uuid}"\nstatus = ["READ", "WRITE", "VISIBLE"]\nflags = []\n'
        f"creation_time = {group.epoch}\ncreation_host = {_quoted(group.host)}\n"
        f"segment_count = {len(volume.segments)}\n"
    )
    segments = (
        f"\nsegment{number} {{\nstart_extent = {segment.first}\nextent_count = {segment.count}\n\n"
        f'type = "striped"\nstripe_count = 1\n\nstripes = [\n"{names[segment.physical]}", {segment.start}\n]\n}}\n'
        for number, segment in enumerate(volume.segments, 1)
    )
    return "".join((head, *segments, "}\n"))


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
