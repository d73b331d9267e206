"""What a group's text metadata says: the group, and of which kind each of its volumes is. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from blockdev.core.units import SECTOR
from blockdev.lvm.config import DamagedError, Section, integer, parse, sections, string, strings
from blockdev.lvm.model import LogicalVolume, PhysicalVolume, Segment, VolumeGroup

LINEAR = "linear"


@dataclass(frozen=True)
class Volume:
    """A volume's kind as ``lvs -o segtype`` names it; ``visible``: it is no inner part of another volume."""

    name: str
    type: str
    visible: bool


@dataclass(frozen=True)
class Described:
    """A group, the number of its version, and the kinds of its volumes in the group's order."""

    group: VolumeGroup
    version: int
    volumes: tuple[Volume, ...]


def interpret(text: str) -> Described:
    """Read metadata of version 1, whoever wrote it. DamagedError: something needed is missing or contradicts."""
    whole = parse(text)
    groups = [(name, value) for name, value in whole.items() if isinstance(value, dict)]
    if len(groups) != 1:
        raise DamagedError(f"has {len(groups)} volume groups, not one")
    if whole.get("contents") != "Text Format Volume Group" or whole.get("version") != 1:
        raise DamagedError("is of an unknown version")
    ((name, body),) = groups
    extent_size = integer(body, "extent_size") * SECTOR
    if not extent_size:
        raise DamagedError("has no number extent_size")
    physical = tuple(_physical(key, section) for key, section in sections(body, "physical_volumes").items())
    logical = sections(body, "logical_volumes")
    extents = {section.name: section.extents for section in physical}
    read = [_logical(key, section, extents, logical) for key, section in logical.items()]
    group = VolumeGroup(
        name=name,
        uuid=string(body, "id"),
        extent_size=extent_size,
        physical=physical,
        logical=tuple(volume for volume, _ in read),
        epoch=integer(whole, "creation_time") if "creation_time" in whole else 0,
        host=string(whole, "creation_host") if "creation_host" in whole else "",
    )
    return Described(group, integer(body, "seqno"), tuple(kind for _, kind in read))


def _physical(name: str, body: Section) -> PhysicalVolume:
    size = integer(body, "dev_size") * SECTOR if "dev_size" in body else 0  # optional in lvm too
    return PhysicalVolume(name, string(body, "id"), size, integer(body, "pe_count"), integer(body, "pe_start") * SECTOR)


def _logical(
    name: str, body: Section, physical: Mapping[str, int], logical: Iterable[str]
) -> tuple[LogicalVolume, Volume]:
    parts = sorted(
        (value for key, value in body.items() if key.startswith("segment") and isinstance(value, dict)),
        key=lambda part: integer(part, "start_extent"),
    )
    if len(parts) != integer(body, "segment_count"):
        raise DamagedError(f"has another number of segments than it says for the logical volume {name[:128]!r}")
    count = 0
    for part in parts:
        if integer(part, "start_extent") != count:
            raise DamagedError(f"has a gap in the logical volume {name[:128]!r}")
        count += integer(part, "extent_count")
    kinds = [_kind(part, physical, logical) for part in parts]
    kind = next((segment_type for segment_type in kinds if segment_type != LINEAR), LINEAR)
    segments = tuple(_segment(part, physical) for part in parts) if kind == LINEAR else ()
    volume = LogicalVolume(name, string(body, "id"), count, segments)
    return volume, Volume(name, kind, "VISIBLE" in strings(body, "status"))


def _kind(part: Section, physical: Iterable[str], logical: Iterable[str]) -> str:
    """``striped`` over one physical volume is linear; over a volume (a layer of something else) it stays striped."""
    kind = string(part, "type").partition("+")[0]  # a name may have flags behind it
    if kind != "striped" or integer(part, "stripe_count") != 1:
        return kind
    on = _stripe(part)[0]
    if on in physical:
        return LINEAR
    if on not in logical:
        raise DamagedError(f"has extents on {on[:128]!r}, which is not in the group")
    return kind


def _stripe(part: Section) -> tuple[str, int]:
    match part.get("stripes"):
        case [str(name), int(start)] if start >= 0:
            return name, start
    raise DamagedError("has no list stripes of a name and a number")


def _segment(part: Section, physical: Mapping[str, int]) -> Segment:
    on, start = _stripe(part)
    count = integer(part, "extent_count")
    if start + count > physical[on]:
        raise DamagedError(f"has extents beyond the end of the physical volume {on[:128]!r}")
    return Segment(integer(part, "start_extent"), count, on, start)
