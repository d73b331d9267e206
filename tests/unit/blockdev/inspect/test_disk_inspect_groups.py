"""Volume groups as `disk inspect` tells of them: newest metadata, inner volumes, kinds that are not looked into."""

from __future__ import annotations

from pathlib import Path

import pytest

from blockdev.core.errors import BuildError
from blockdev.inspect import lvm
from blockdev.inspect.bytes_view import view
from blockdev.inspect.model import Content, Region
from blockdev.lvm.interpret import Volume
from blockdev.lvm.model import LogicalVolume, PhysicalVolume, Segment, VolumeGroup
from blockdev.lvm.read import GroupDescription

EXTENT = 4096
PHYSICAL = (PhysicalVolume("pv0", "one", 65536, 10, 8192), PhysicalVolume("pv1", "two", 65536, 10, 8192))
PLACES = [Region(None, start, 65536, Content("lvm")) for start in (65536, 131072)]


def found(uuid: str, version: int, *volumes: tuple[str, str, bool, tuple[Segment, ...]]) -> GroupDescription:
    logical = tuple(LogicalVolume(name, name, 2, segments) for name, _, _, segments in volumes)
    group = VolumeGroup("vg", "group", EXTENT, PHYSICAL, logical, 0)
    kinds = tuple(Volume(name, kind, visible) for name, kind, visible, _ in volumes)
    return GroupDescription(uuid, 65536, group, "", version, kinds)


def told(
    monkeypatch: pytest.MonkeyPatch, answers: dict[int, GroupDescription | None], content: bytes = b""
) -> list[Region]:
    def read(image: Path, offset: int, length: int) -> GroupDescription | None:
        assert (image, length) == (Path("disk"), 65536)
        return answers[offset]

    monkeypatch.setattr("blockdev.lvm.read.read", read)
    return list(lvm.with_groups(Path("disk"), view(content.ljust(196608, b"\0")), PLACES))


def test_newest_metadata_and_inner_volumes(monkeypatch: pytest.MonkeyPatch) -> None:
    linear = ("data", "linear", True, (Segment(0, 1, "pv1", 3), Segment(1, 1, "pv0", 0)))
    thin = ("thin", "thin", True, ())
    inner = ("pool_tmeta", "linear", False, (Segment(0, 2, "pv0", 5),))
    content = bytearray(196608)
    content[131072 + 8192 + 3 * EXTENT] = 7
    first, second = told(
        monkeypatch, {65536: found("one", 1, thin), 131072: found("two", 2, linear, thin, inner)}, bytes(content)
    )
    assert first.group is not None
    assert second.group is not None
    data, other = first.group.volumes
    assert (data.name, data.size, data.offset) == ("data", 2 * EXTENT, None)
    assert (data.content.kind, data.content.details["first_bytes"][:5]) == ("unknown", "07 00")
    assert (other.name, other.content.kind, other.content.details) == ("thin", "not read", {"type": "thin"})
    assert other.content.remarks == ("the volume was not looked into: it is of the kind thin, not linear",)
    assert (first.group.size, first.group.free) == (20 * EXTENT, 16 * EXTENT)
    assert second.group.volumes == ()


def test_part_that_is_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = ("data", "linear", True, (Segment(0, 1, "pv1", 3), Segment(1, 1, "pv0", 0)))
    first, second = told(monkeypatch, {65536: found("one", 1, volume), 131072: GroupDescription("free", 65536)})
    assert first.group is not None
    assert first.group.remarks == ("the group vg has 1 of its 2 physical volumes elsewhere",)
    assert first.group.volumes[0].content.remarks == (
        "the volume was not looked into: a part of it is not in this image",
    )
    assert second.group is None


def test_place_of_a_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = ("data", "linear", True, (Segment(0, 2, "pv0", 4),))
    first, _ = told(monkeypatch, {65536: found("one", 1, volume), 131072: None})
    assert first.group is not None
    assert first.group.volumes[0].offset == 65536 + 8192 + 4 * EXTENT


def test_damage_is_a_remark(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(image: Path, offset: int, length: int) -> GroupDescription | None:
        raise BuildError("the LVM physical volume is damaged")

    monkeypatch.setattr("blockdev.lvm.read.read", read)
    places = lvm.with_groups(Path("disk"), view(bytes(196608)), PLACES)
    assert [place.content.remarks for place in places] == [("the LVM physical volume is damaged",)] * len(PLACES)
    assert PLACES
