"""Allocation: nothing overlaps, sums hold, and what does not fit or has no LVM name is refused in words."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockdev.core.errors import BuildError, UsageError
from blockdev.lvm.allocate import VolumeSpec, allocate, identifier
from blockdev.lvm.model import LogicalVolume, PhysicalVolume, Segment, VolumeGroup, places
from blockdev.lvm.names import refused, refused_group, refused_pair

MIB = 1 << 20
UUID = re.compile(r"[0-9A-Za-z]{6}(-[0-9A-Za-z]{4}){5}-[0-9A-Za-z]{6}\Z")


def group_of(wanted: list[VolumeSpec], *sizes: int, extent_size: int = 4 * MIB) -> VolumeGroup:
    physical = [(f"pv{number}", size) for number, size in enumerate(sizes)]
    return allocate("vg", physical, wanted, seed="seed", epoch=7, extent_size=extent_size)


SIZES = st.lists(st.integers(5 * MIB, 3000 * MIB), min_size=1, max_size=5)
EXTENTS = st.one_of(
    st.integers(1, 100).map(str),
    st.tuples(st.integers(1, 150), st.sampled_from(["VG", "FREE", "PVS"])).map(lambda pair: f"{pair[0]}%{pair[1]}"),
)
WANTED = st.lists(
    st.one_of(st.tuples(st.integers(1, 900 * MIB), st.just("")), st.tuples(st.none(), EXTENTS)), max_size=8
)


@given(SIZES, WANTED, st.sampled_from([MIB, 4 * MIB]))
def test_no_two_volumes_share_an_extent(sizes: list[int], wanted: list[tuple[int | None, str]], extent: int) -> None:
    asked = [VolumeSpec(f"lv{number}", size, extents) for number, (size, extents) in enumerate(wanted)]
    try:
        group = group_of(asked, *sizes, extent_size=extent)
    except BuildError as error:
        assert not isinstance(error, UsageError)
        assert re.match(r"the logical volume lv\d wants .* are left", error.what)
        return
    assert [one.extents for one in group.physical] == [(size - MIB) // extent for size in sizes]
    pieces = sorted(piece for one in group.logical for piece in places(group, one))
    for (name, offset, length), (other, start, _) in pairwise(pieces):
        assert name != other or offset + length <= start
    for one in group.physical:
        here = [(offset, length) for name, offset, length in pieces if name == one.name]
        assert all(offset >= MIB and offset + length <= one.size for offset, length in here)
        assert all((offset - MIB) % extent == 0 for offset, _ in here)
    for one_asked, volume in zip(asked, group.logical, strict=True):
        assert volume.name == one_asked.name
        assert sum(length for _, _, length in places(group, volume)) == volume.extents * extent
        assert [one.first for one in volume.segments][:1] == [0]
        assert sum(one.count for one in volume.segments) == volume.extents >= 1
        if one_asked.size is not None:
            assert volume.extents == max(1, one_asked.size // extent)


def test_the_rest_of_one_and_the_begin_of_the_next() -> None:
    group = group_of(
        [VolumeSpec("a", 8 * MIB), VolumeSpec("b", extents="50%FREE"), VolumeSpec("c", extents="100%FREE")],
        21 * MIB,
        25 * MIB,
    )
    a, b, c = group.logical
    assert a.segments == (Segment(0, 2, "pv0", 0),)
    assert b.segments == (Segment(0, 3, "pv0", 2), Segment(3, 1, "pv1", 0))
    assert c.segments == (Segment(0, 5, "pv1", 1),)
    assert places(group, b) == (("pv0", 9 * MIB, 12 * MIB), ("pv1", MIB, 4 * MIB))


def test_neighbours_are_one_piece() -> None:
    segments = (Segment(0, 2, "x", 3), Segment(2, 1, "x", 5), Segment(3, 1, "y", 6), Segment(4, 1, "y", 0))
    volume = LogicalVolume("lv", "", 5, segments)
    physical = (PhysicalVolume("x", "", 0, 10), PhysicalVolume("y", "", 0, 10, start=3 * MIB))
    group = VolumeGroup("vg", "", MIB, physical, (volume,), 0)
    assert places(group, volume) == (("x", 4 * MIB, 3 * MIB), ("y", 9 * MIB, MIB), ("y", 3 * MIB, MIB))


@pytest.mark.parametrize(
    ("wanted", "extents"),
    [
        (VolumeSpec("x", 8 * MIB, "100%FREE"), 2),
        (VolumeSpec("x", 8 * MIB - 1), 1),
        (VolumeSpec("x", 1), 1),
        (VolumeSpec("x", extents="7"), 7),
        (VolumeSpec("x", extents="30%VG"), 7),
        (VolumeSpec("x", extents="30%vg"), 7),
        (VolumeSpec("x", extents="999%FREE"), 25),
    ],
)
def test_how_many_extents(wanted: VolumeSpec, extents: int) -> None:
    (volume,) = group_of([wanted], 101 * MIB).logical
    assert volume.extents == extents


def test_what_does_not_fit_is_told_in_units() -> None:
    with pytest.raises(BuildError) as caught:
        group_of([VolumeSpec("first", 40 * MIB), VolumeSpec("second", 3 << 30)], 2049 * MIB)
    assert caught.value.what == (
        "the logical volume second wants 3 GiB, which is not in the group: 1.96 GiB of 2 GiB are left"
    )
    assert caught.value.where == "volume group vg"
    with pytest.raises(BuildError, match=r"x wants 26 extents \(104 MiB\), which is not in .* 100 MiB of 100 MiB"):
        group_of([VolumeSpec("x", extents="26")], 101 * MIB)
    with pytest.raises(BuildError, match=r"x wants 1%VG \(0 bytes\), which is less than one extent: 100 MiB of"):
        group_of([VolumeSpec("x", extents="1%VG")], 101 * MIB)
    with pytest.raises(BuildError, match="the physical volume pv1 has 4 MiB, too little for one extent") as small:
        group_of([], 101 * MIB, 4 * MIB)
    assert small.value.hint == "give it at least 5 MiB"


@pytest.mark.parametrize(
    "extents", ["", "0", "0%VG", "-1", "1.5%VG", "50 %VG", "50%", "50%ORIGIN", "50%VGX", "many", "٣"]
)
def test_no_number_of_extents(extents: str) -> None:
    with pytest.raises(UsageError, match="logical volume x wants"):
        group_of([VolumeSpec("x", extents=extents)], 101 * MIB)


@pytest.mark.parametrize(
    "name", ["root", "lv_root", "a-b", "lost+found", "+", "9", "_x", "vg", "Snapshot", ".a", "x" * 127]
)
def test_names_of_volumes(name: str) -> None:
    assert refused(name) == ""


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "is empty"),
        ("a b", "has characters other than"),
        ("a/b", "has characters other than"),
        ("ä", "has characters other than"),
        ("a\n", "has characters other than"),
        ("-a", "begins with a hyphen"),
        (".", "is that of a folder"),
        ("..", "is that of a folder"),
        ("snapshot", 'is reserved: LVM uses names that begin with "snapshot"'),
        ("pvmove0", 'is reserved: LVM uses names that begin with "pvmove"'),
        ("my_tdata1", 'is reserved: LVM uses names with "_tdata" in them'),
        ("x_mlog", 'is reserved: LVM uses names with "_mlog" in them'),
        ("x" * 128, "has 128 characters, more than 127"),
    ],
)
def test_names_that_lvm_refuses(name: str, reason: str) -> None:
    assert refused(name).startswith(reason)
    with pytest.raises(UsageError, match="of a logical volume"):
        group_of([VolumeSpec(name, MIB)], 101 * MIB)


def test_names_of_groups() -> None:
    assert refused_group("snapshot") == ""
    assert refused_group("vg") == ""
    assert "/dev/mapper" in refused_group("mapper")
    assert refused_group("-vg") == "begins with a hyphen"
    with pytest.raises(UsageError, match='the name "null" of a volume group is refused'):
        allocate("null", [("pv", 101 * MIB)], [], seed="", epoch=0)


def test_names_that_are_too_long_together() -> None:
    assert refused_pair("vg9", "x" * 121) == ""
    assert refused_pair("vg9", "x" * 122).endswith("128 characters of 127")
    assert refused_pair("vg", "-x" * 41) == ""
    assert refused_pair("vg", "-x" * 42).endswith("129 characters of 127")
    with pytest.raises(UsageError, match="too long together with that of its group vg"):
        group_of([VolumeSpec("x" * 124, MIB)], 101 * MIB)


def test_what_is_refused_before_anything_else() -> None:
    with pytest.raises(UsageError, match="two logical volumes are called a"):
        group_of([VolumeSpec("a", MIB), VolumeSpec("a", MIB)], 101 * MIB)
    with pytest.raises(UsageError, match="two physical volumes are called pv"):
        allocate("vg", [("pv", 101 * MIB), ("pv", 101 * MIB)], [], seed="", epoch=0)
    with pytest.raises(UsageError, match="has no physical volume"):
        allocate("vg", [], [], seed="", epoch=0)
    with pytest.raises(UsageError, match="no power of two"):
        group_of([], 101 * MIB, extent_size=3 * MIB)
    with pytest.raises(UsageError, match="has no size"):
        group_of([VolumeSpec("a", 0)], 101 * MIB)


@given(st.text(), st.lists(st.text(), max_size=3))
def test_identifiers_have_lvms_form(seed: str, path: list[str]) -> None:
    assert UUID.match(identifier(seed, *path))


def test_identifiers_differ_for_each_thing_and_seed_only() -> None:
    def ids(seed: str) -> list[str]:
        group = allocate("same", [("same", 50 * MIB), ("b", 50 * MIB)], [VolumeSpec("same", MIB)], seed=seed, epoch=1)
        return [group.uuid, *(one.uuid for one in group.physical), *(one.uuid for one in group.logical)]

    assert ids("one") == ids("one")
    assert len({*ids("one"), *ids("two")}) == 8
