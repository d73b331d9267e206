"""The volume groups on a disk and what is in their volumes, where those are plain pieces of this image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from blockdev.core.errors import BuildError
from blockdev.inspect import signatures
from blockdev.inspect.bytes_view import Joined, View
from blockdev.inspect.model import Content, Group, Region, Volume
from blockdev.lvm import model as lvm
from blockdev.lvm import read as reader


def with_groups(raw: Path, view: View, places: Sequence[Region]) -> tuple[Region, ...]:
    """The places, those that are physical volumes with their group.

    A group's volumes are listed with the first of its physical volumes. What is damaged becomes a remark.
    """
    descriptions: dict[int, reader.GroupDescription] = {}
    regions = list(places)
    for at, region in enumerate(places):
        if region.content.kind != "lvm":
            continue
        try:
            physical = reader.read(raw, region.start, region.length)
        except BuildError as error:
            regions[at] = _remarked(region, error.what)
            continue
        if physical and physical.group:
            descriptions[at] = physical
    starts = {physical.uuid: places[at].start for at, physical in descriptions.items()}
    newest: dict[str, reader.GroupDescription] = {}
    for physical in sorted(descriptions.values(), key=lambda description: description.version):
        if physical.group:
            newest[physical.group.uuid] = physical
    for at, physical in descriptions.items():
        if physical.group:
            # The first one takes it away, so that the group's volumes are listed once.
            newest_of_group = newest.pop(physical.group.uuid, None)
            regions[at] = replace(
                regions[at], group=_group(view, newest_of_group or physical, starts, listed=newest_of_group is not None)
            )
    return tuple(regions)


def _remarked(region: Region, remark: str) -> Region:
    return replace(region, content=replace(region.content, remarks=(*region.content.remarks, remark)))


def _group(
    view: View, description: reader.GroupDescription, starts: Mapping[str, int], *, listed: bool
) -> Group | None:
    group = description.group
    if group is None:
        return None
    extents = sum(volume.extents for volume in group.physical)
    used = sum(segment.count for volume in group.logical for segment in volume.segments)
    missing = [volume.name for volume in group.physical if volume.uuid not in starts]
    remark = f"the group {group.name} has {len(missing)} of its {len(group.physical)} physical volumes elsewhere"
    volumes = zip(group.logical, description.volumes, strict=True) if listed else ()
    return Group(
        name=group.name,
        uuid=group.uuid,
        size=extents * group.extent_size,
        free=max(0, extents - used) * group.extent_size,
        volumes=tuple(_volume(view, group, volume, kind.type, starts) for volume, kind in volumes if kind.visible),
        remarks=(remark,) if missing and listed else (),
    )


def _volume(
    view: View, group: lvm.VolumeGroup, volume: lvm.LogicalVolume, kind: str, starts: Mapping[str, int]
) -> Volume:
    size = volume.extents * group.extent_size
    pieces = _pieces(group, volume, starts)
    if pieces is None:
        why = "a part of it is not in this image" if volume.segments else f"it is of the kind {kind}, not linear"
        content = Content("not read", details={"type": kind}, remarks=(f"the volume was not looked into: {why}",))
        return Volume(volume.name, volume.uuid, size, None, content)
    whole = Joined([view.part(offset, length) for offset, length in pieces])
    content = signatures.identify(View(whole, 0, sum(part.size for part in whole.parts)))
    return Volume(volume.name, volume.uuid, size, pieces[0][0] if len(pieces) == 1 else None, content)


def _pieces(
    group: lvm.VolumeGroup, volume: lvm.LogicalVolume, starts: Mapping[str, int]
) -> list[tuple[int, int]] | None:
    """First byte in the image and length of each piece of a volume; None where that is not all there is to it."""
    homes = {physical.name: starts[physical.uuid] for physical in group.physical if physical.uuid in starts}
    if not volume.segments or any(segment.physical not in homes for segment in volume.segments):
        return None
    return [(homes[name] + offset, length) for name, offset, length in lvm.places(group, volume)]
