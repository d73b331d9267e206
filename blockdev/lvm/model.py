"""A volume group: what it lies on, what is in it, and where."""

from __future__ import annotations

from dataclasses import dataclass

DATA_START = 1 << 20  # bytes from the begin of a physical volume to its first extent, as pvcreate leaves them
EXTENT = 4 << 20  # bytes of an extent, vgcreate's default


@dataclass(frozen=True)
class PhysicalVolume:
    """A storage of a group: ``size`` bytes in all, ``extents`` of them usable, the first at byte ``start``."""

    name: str
    uuid: str
    size: int
    extents: int
    start: int = DATA_START


@dataclass(frozen=True)
class Segment:
    """``count`` extents of a volume from its extent ``first`` on are those of ``physical`` from ``start`` on."""

    first: int
    count: int
    physical: str
    start: int


@dataclass(frozen=True)
class LogicalVolume:
    """A volume of ``extents`` extents; without segments it is of a kind (thin, mirror...) that has no plain ones."""

    name: str
    uuid: str
    extents: int
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class VolumeGroup:
    """A group: ``extent_size`` in bytes, ``epoch`` (when it was written) in seconds, ``host`` where it was."""

    name: str
    uuid: str
    extent_size: int
    physical: tuple[PhysicalVolume, ...]
    logical: tuple[LogicalVolume, ...]
    epoch: int
    host: str = ""


def places(group: VolumeGroup, logical: LogicalVolume) -> tuple[tuple[str, int, int], ...]:
    """Where the bytes of a volume lie, in its own order: name of the physical volume, byte offset in it, bytes.

    Neighbours are one piece.
    """
    starts = {volume.name: volume.start for volume in group.physical}
    pieces: list[tuple[str, int, int]] = []
    for segment in logical.segments:
        offset = starts[segment.physical] + segment.start * group.extent_size
        length = segment.count * group.extent_size
        if pieces and pieces[-1][0] == segment.physical and pieces[-1][1] + pieces[-1][2] == offset:
            _, offset, before = pieces.pop()
            length += before
        pieces.append((segment.physical, offset, length))
    return tuple(pieces)
