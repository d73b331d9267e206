"""Which extents each volume of a new group gets. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid5

from blockdev.configuration.sizes import shown
from blockdev.core.errors import BuildError, UsageError
from blockdev.core.units import SECTOR
from blockdev.lvm.layout import UUID_GROUPS
from blockdev.lvm.model import DATA_START, EXTENT, LogicalVolume, PhysicalVolume, Segment, VolumeGroup
from blockdev.lvm.names import refused, refused_group, refused_pair

_EXTENTS = re.compile(r"\+?([0-9]{1,10})(?:%([A-Za-z]+))?\Z", re.ASCII)
_KINDS = ("VG", "FREE", "PVS")
_NAMESPACE = UUID("7a4f5a0e-8d0f-5a5c-9b40-5f3d54c0c2a1")
_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class VolumeSpec:
    """A volume to be: ``size`` in bytes, or where that is None ``extents`` as ``lvcreate -l`` takes them."""

    name: str
    size: int | None = None
    extents: str = ""


def identifier(seed: str, *path: str) -> str:
    """A UUID in LVM's form (six, five times four and six letters and digits) for the thing at ``path``."""
    text = "/".join((seed, *path))
    number = uuid5(_NAMESPACE, text).int << 128 | uuid5(_NAMESPACE, f"{text}/more").int
    letters = ""
    while len(letters) < sum(UUID_GROUPS):
        number, digit = divmod(number, len(_LETTERS))
        letters += _LETTERS[digit]
    return hyphenated(letters)


def hyphenated(letters: str) -> str:
    """The 32 letters of a UUID, as they are in a label, in the groups that people and the metadata see."""
    ends = [sum(UUID_GROUPS[: count + 1]) for count in range(len(UUID_GROUPS))]
    return "-".join(letters[end - length : end] for end, length in zip(ends, UUID_GROUPS, strict=True))


def allocate(
    name: str,
    physical: Sequence[tuple[str, int]],
    logical: Sequence[VolumeSpec],
    *,
    seed: str,
    epoch: int,
    extent_size: int = EXTENT,
) -> VolumeGroup:
    """The group ``name`` on physical volumes (name, size in bytes), with its volumes first fit in the order given.

    ``seed`` gives the UUIDs, ``epoch`` is in seconds, ``extent_size`` in bytes. A percentage is rounded down to an
    extent and cut to what is free, as lvcreate does; a size is rounded down, but never to nothing, as
    diskimage-builder does. UsageError: a name or number that LVM does not take. BuildError: no room.
    """
    _check(name, [volume for volume, _ in physical], [volume.name for volume in logical], extent_size)
    volumes = tuple(_physical(name, volume, size, seed, extent_size) for volume, size in physical)
    used = dict.fromkeys((volume.name for volume in volumes), 0)
    total = sum(volume.extents for volume in volumes)
    allocated = []
    for spec in logical:
        count = _count(name, spec, total, total - sum(used.values()), extent_size)
        segments = tuple(_take(volumes, used, count))
        allocated.append(LogicalVolume(spec.name, identifier(seed, name, "lv", spec.name), count, segments))
    return VolumeGroup(name, identifier(seed, name), extent_size, volumes, tuple(allocated), epoch)


def _check(group: str, physical: Sequence[str], logical: Sequence[str], extent_size: int) -> None:
    where = f"volume group {group}"
    if reason := refused_group(group):
        raise UsageError(f'the name "{group}" of a volume group {reason}', hint="give it another name")
    if extent_size < SECTOR or extent_size & (extent_size - 1):
        raise UsageError(f"an extent of {extent_size} bytes is no power of two from {SECTOR} on", where=where)
    if not physical:
        raise UsageError(f"the volume group {group} has no physical volume", hint="name one in its base")
    for volume in logical:
        if reason := refused(volume) or refused_pair(group, volume):
            raise UsageError(
                f'the name "{volume}" of a logical volume {reason}', where=where, hint="give it another name"
            )
    for kind, names in (("physical", physical), ("logical", logical)):
        twice = sorted({volume for volume in names if names.count(volume) > 1})
        if twice:
            raise UsageError(f"two {kind} volumes are called {twice[0]}", where=where, hint="rename one of them")


def _physical(group: str, name: str, size: int, seed: str, extent_size: int) -> PhysicalVolume:
    size -= size % SECTOR
    extents = (size - DATA_START) // extent_size
    if extents < 1:
        raise BuildError(
            f"the physical volume {name} has {shown(max(size, 0))}, too little for one extent",
            where=f"volume group {group}",
            hint=f"give it at least {shown(DATA_START + extent_size)}",
        )
    return PhysicalVolume(name, identifier(seed, group, "pv", name), size, extents)


def _count(group: str, spec: VolumeSpec, total: int, left: int, extent_size: int) -> int:
    """How many extents a volume gets. BuildError where there are not as many left."""
    where = f"volume group {group}"
    if spec.size is not None:
        count, asked = max(1, spec.size // extent_size), shown(spec.size)
        if spec.size < 1:
            raise UsageError(f"the logical volume {spec.name} has no size", where=where, hint="give it one above 0")
    else:
        count, asked = _extents(where, spec, total, left, extent_size)
    if count > left or not count:
        problem = "is not in the group" if count else "is less than one extent"
        raise BuildError(
            f"the logical volume {spec.name} wants {asked}, which {problem}: "
            f"{shown(left * extent_size)} of {shown(total * extent_size)} are left",
            where=where,
            hint="make the volumes smaller, or the physical volumes larger",
        )
    return count


def _extents(where: str, spec: VolumeSpec, total: int, left: int, extent_size: int) -> tuple[int, str]:
    match = _EXTENTS.match(spec.extents.strip())
    kinds = [kind for kind in _KINDS if match and match[2] and kind.startswith(match[2].upper())]
    if not match or (match[2] and not kinds) or not int(match[1]):
        raise UsageError(
            f'the logical volume {spec.name} wants "{spec.extents}" extents',
            where=where,
            hint="give a number above 0, alone or with %VG, %FREE or %PVS, for example 100 or 40%VG",
        )
    number = int(match[1])
    if not kinds:
        return number, f"{number} extents ({shown(number * extent_size)})"
    share = (left if kinds[0] == "FREE" else total) * number // 100
    asked = f"{number}%{kinds[0]} ({shown(share * extent_size)})"
    return min(share, left) if left else share, asked


def _take(volumes: Iterable[PhysicalVolume], used: dict[str, int], count: int) -> Iterable[Segment]:
    """Take ``count`` extents, as many as there are from each physical volume in turn; notes them in ``used``."""
    first = 0
    for volume in volumes:
        taken = min(count - first, volume.extents - used[volume.name])
        if taken:
            yield Segment(first, taken, volume.name, used[volume.name])
            used[volume.name] += taken
            first += taken
