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
    found: dict[int, reader.GroupDescription] = {}
    made = list(places)
    for at, place in enumerate(places):
        if place.content.kind != "lvm":
            continue
        try:
            physical = reader.read(raw, place.start, place.length)
        except BuildError as error:
            made[at] = _remarked(place, error.what)
            continue
        if physical and physical.group:
            found[at] = physical
    starts = {physical.uuid: places[at].start for at, physical in found.items()}
    newest: dict[str, reader.GroupDescription] = {}
    for physical in sorted(found.values(), key=lambda one: one.version):
        if physical.group:
            newest[physical.group.uuid] = physical
    for at, physical in found.items():
        if physical.group:
            # The first one takes it away, so that the group's volumes are listed once.
            known = newest.pop(physical.group.uuid, None)
            made[at] = replace(made[at], group=_group(view, known or physical, starts, listed=known is not None))
    return tuple(made)


def _remarked(place: Region, remark: str) -> Region:
    return replace(place, content=replace(place.content, remarks=(*place.content.remarks, remark)))


def _group(view: View, found: reader.GroupDescription, starts: Mapping[str, int], *, listed: bool) -> Group | None:
    group = found.group
    if group is None:
        return None
    extents = sum(one.extents for one in group.physical)
    used = sum(segment.count for one in group.logical for segment in one.segments)
    missing = [one.name for one in group.physical if one.uuid not in starts]
    remark = f"the group {group.name} has {len(missing)} of its {len(group.physical)} physical volumes elsewhere"
    volumes = zip(group.logical, found.volumes, strict=True) if listed else ()
    return Group(
        name=group.name,
        uuid=group.uuid,
        size=extents * group.extent_size,
        free=max(0, extents - used) * group.extent_size,
        volumes=tuple(_volume(view, group, one, kind.type, starts) for one, kind in volumes if kind.visible),
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
    homes = {one.name: starts[one.uuid] for one in group.physical if one.uuid in starts}
    if not volume.segments or any(segment.physical not in homes for segment in volume.segments):
        return None
    return [(homes[name] + offset, length) for name, offset, length in lvm.places(group, volume)]
