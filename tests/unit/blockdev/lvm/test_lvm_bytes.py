"""What is written is read back the same, the same input gives the same bytes, and damage is told, never followed."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blockdev.core.errors import BuildError
from blockdev.filesystems.region import Region, holds
from blockdev.lvm import layout
from blockdev.lvm.allocate import VolumeSpec, allocate
from blockdev.lvm.config import DamagedError, parse
from blockdev.lvm.interpret import interpret
from blockdev.lvm.model import VolumeGroup
from blockdev.lvm.read import GroupDescription, examine, read
from blockdev.lvm.render import render
from blockdev.lvm.write import label, metadata_header, write
from tests.examples import examples

MIB = 1 << 20
OFFSET = 3 * MIB + 512


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dib-ctr-test-") as name:
        yield Path(name)


NAMES = st.text("abcXYZ019+_.", min_size=1, max_size=9).filter(lambda name: name not in (".", ".."))
GROUPS = st.builds(
    lambda name, sizes, logical, epoch, host: replace(
        allocate(
            "g" + name,
            [(f"pv-{number}", size) for number, size in enumerate(sizes)],
            [VolumeSpec(one, extents="20%FREE") for one in logical],
            seed=name,
            epoch=epoch,
            extent_size=MIB,
        ),
        host=host,
    ),
    NAMES,
    st.lists(st.integers(40 * MIB, 90 * MIB), min_size=1, max_size=3),
    st.lists(NAMES, max_size=12, unique=True),
    st.integers(0, 1 << 40),
    st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=20),
)


def written(group: VolumeGroup, folder: Path) -> dict[str, Region]:
    """One image with all physical volumes of a group in it, a gap before each."""
    image = Path(tempfile.mkdtemp(dir=folder)) / "image"
    regions, at = {}, OFFSET
    for one in group.physical:
        regions[one.name] = Region(image, at, one.size)
        at += one.size + OFFSET
    write(group, regions)
    return regions


@given(GROUPS)
@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_is_written_is_read_back(folder: Path, group: VolumeGroup) -> None:
    for name, region in written(group, folder).items():
        found = read(region.image, region.offset, region.length)
        assert found is not None
        assert found.group == group
        assert (found.physical, found.version) == (name, 1)
        assert (found.uuid, found.size) == next((one.uuid, one.size) for one in group.physical if one.name == name)
        assert [(one.name, one.type, one.visible) for one in found.volumes] == [
            (one.name, "linear", True) for one in group.logical
        ]


def example(*logical: VolumeSpec, physical: tuple[str, ...] = ("pv",)) -> VolumeGroup:
    asked = logical or (VolumeSpec("root", 8 * MIB),)
    return allocate("vg", [(name, 32 * MIB) for name in physical], asked, seed="s", epoch=5)


def test_the_same_bytes_twice_and_only_few(folder: Path) -> None:
    (first,), (second,) = (written(example(), folder).values() for _ in range(2))
    assert first.image.read_bytes() == second.image.read_bytes()
    whole = Region(first.image, 0, first.offset + first.length)
    assert first.image.stat().st_size == whole.length
    assert holds(whole) <= 32 << 10


def test_names_that_are_no_words_are_numbered_in_the_text(folder: Path) -> None:
    group = example(VolumeSpec("root", 48 * MIB), physical=("a disk", 'b"'))
    regions = written(group, folder)
    found = read(regions['b"'].image, regions['b"'].offset, regions['b"'].length)
    assert found is not None
    assert found.group is not None
    assert found.physical == "pv1"
    assert [one.name for one in found.group.physical] == ["pv0", "pv1"]
    assert [one.uuid for one in found.group.physical] == [one.uuid for one in group.physical]
    assert [one.physical for one in found.group.logical[0].segments] == ["pv0", "pv1"]


def test_the_checksum_is_lvms() -> None:
    """The values are those in a label and a metadata area that pvcreate has written."""
    uuid = b"MV2VtuW7HKde1rlNNSQvwrTGVkGx3uLq"
    areas = struct.pack("<8Q", MIB, 0, 0, 0, 4096, MIB - 4096, 0, 0)
    rest = struct.pack("<I8s32sQ", 32, b"LVM2 001", uuid, 64 * MIB) + areas + struct.pack("<II", 2, 1)
    assert layout.checksum(rest.ljust(492, b"\0")) == 0x576E7E85


def test_writing_is_refused_before_it_begins(folder: Path) -> None:
    group = example(physical=("a", "b"))
    image = folder / "image"
    image.write_bytes(b"")
    good = Region(image, 0, 32 * MIB)
    with pytest.raises(BuildError, match="has no place in an image") as caught:
        write(group, {"a": good})
    assert caught.value.where == "physical volume b of volume group vg"
    with pytest.raises(BuildError, match="32 MiB does not fit where 31 MiB are"):
        write(group, {"a": good, "b": Region(image, 32 * MIB, 31 * MIB)})
    with pytest.raises(BuildError, match="within the metadata area"):
        write(replace(group, physical=(replace(group.physical[0], start=512 << 10),)), {"a": good})
    old = folder / "old"
    old.write_bytes(bytes(MIB - 1) + b"x")
    with pytest.raises(BuildError, match="the place of a physical volume is not blank"):
        write(group, {"a": good, "b": Region(old, 0, 32 * MIB)})
    assert not any(image.read_bytes())
    many = allocate("vg", [("a", 9 << 30)], [VolumeSpec(f"lv{n}", 1) for n in range(2000)], seed="", epoch=0)
    with pytest.raises(BuildError, match=r"metadata of 2000 logical volumes takes .* KiB of at most 509.25 KiB"):
        write(many, {"a": Region(image, 0, 9 << 30)})


def raw() -> tuple[VolumeGroup, bytearray]:
    """The first part of a physical volume, in memory."""
    group = example()
    text = render(group).encode() + b"\0"
    content = bytearray(16 << 10)
    content[512:1024] = label(group.physical[0])
    content[4096:4608] = metadata_header(text)
    content[4608 : 4608 + len(text)] = text
    return group, content


def seen(content: bytes | bytearray) -> GroupDescription | None:
    return examine(lambda offset, length: bytes(content[offset : offset + length]), "here")


PLACES = {"version": (20, "<I"), "start": (24, "<Q"), "offset": (40, "<Q"), "size": (48, "<Q"), "flags": (60, "<I")}


def with_header(content: bytearray, **changes: int) -> bytearray:
    """Other values in the metadata area's header, under a right checksum."""
    for name, value in changes.items():
        at, form = PLACES[name]
        struct.pack_into(form, content, 4096 + at, value)
    struct.pack_into("<I", content, 4096, layout.checksum(bytes(content[4100:4608])))
    return content


def test_the_parts_are_what_is_written(folder: Path) -> None:
    group, content = raw()
    (region,) = written(group, folder).values()
    image = region.image.read_bytes()
    assert image[OFFSET : OFFSET + len(content)] == content
    found = seen(content)
    assert found is not None
    assert found.group == group


def test_a_label_in_each_of_four_sectors_is_found() -> None:
    group, content = raw()
    for sector in range(4):
        moved = bytearray(content)
        moved[:2048] = bytes(2048)
        own = bytearray(content[512:1024])
        struct.pack_into("<Q", own, 8, sector)
        struct.pack_into("<I", own, 16, layout.checksum(bytes(own[20:])))
        moved[sector * 512 : sector * 512 + 512] = own
        found = seen(moved)
        assert found is not None
        assert found.group == group


def test_no_label_is_nothing() -> None:
    assert seen(b"") is None
    assert seen(bytes(4096)) is None
    _, content = raw()
    content[512 + 24 : 512 + 32] = b"LVM9 001"
    assert seen(content) is None


def damaged(content: bytes | bytearray) -> str:
    with pytest.raises(BuildError) as caught:
        seen(content)
    assert caught.value.where == "here"
    return caught.value.what


def test_every_kind_of_damage_is_named() -> None:
    _, content = raw()
    for at, told in (
        (512 + 40, "has a label with a wrong checksum"),
        (4096 + 44, "has a metadata area with a wrong checksum"),
        (4608 + 20, "has metadata with a wrong checksum"),
    ):
        broken = bytearray(content)
        broken[at] ^= 1
        assert damaged(broken) == f"the LVM physical volume {told}"
    assert damaged(content[:4200]).endswith("ends before its metadata")
    assert damaged(content[:5000]).endswith("ends before its metadata")
    assert damaged(with_header(bytearray(content), version=2)).endswith("contradicts its label")
    assert damaged(with_header(bytearray(content), start=8192)).endswith("contradicts its label")
    for changes in ({"offset": 100}, {"offset": MIB}, {"size": 0}, {"size": 1 << 60}):
        assert damaged(with_header(bytearray(content), **changes)).endswith("has metadata outside of its area")
    for changes in ({"offset": 0}, {"flags": 1}):
        found = seen(with_header(bytearray(content), **changes))
        assert found is not None
        assert found.group is None
    endless = bytearray(content)
    endless[512 + 72 : 1024] = b"\1" * (512 - 72)
    struct.pack_into("<I", endless, 512 + 16, layout.checksum(bytes(endless[532:1024])))
    assert damaged(endless).endswith("has a label that does not end")


@given(st.data())
@settings(max_examples=examples(200))
def test_no_byte_makes_it_stumble(data: st.DataObject) -> None:
    """Whatever stands there, under right checksums too: a group, nothing, or a sentence."""
    _, content = raw()
    text_end = content.index(b"\0", 4608)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(512 + 20, 700) | st.integers(4100, 4170) | st.integers(4608, text_end))] = (
            data.draw(st.integers(0, 255))
        )
    struct.pack_into("<I", content, 512 + 16, layout.checksum(bytes(content[532:1024])))
    struct.pack_into("<I", content, 4096 + 56, layout.checksum(bytes(content[4608 : text_end + 1])))
    with_header(content)
    try:
        seen(content)
    except BuildError as error:
        assert error.what.startswith("the LVM physical volume ")


@given(st.text(" \n\t#{}[]=,\"'\\ab10.-", max_size=80))
def test_any_text_is_read_or_damaged(text: str) -> None:
    try:
        assert isinstance(parse(text), dict)
    except DamagedError as error:
        assert str(error)


def test_the_syntax() -> None:
    text = """
    # a remark { "
    number = -5 # behind = it
    real=2.5 word = @tag text = "a \\"b\\" \\\\ # no remark"
    plain = 'a "b" \\'
    list = ["x", 1, [2, "y"], ] none = []
    lost+found { 1 { deep = 1 } "a key" = 3 }
    number = 6
    """
    assert parse(text) == {
        "number": 6,
        "real": 2.5,
        "word": "@tag",
        "text": 'a "b" \\ # no remark',
        "plain": 'a "b" \\',
        "list": ["x", 1, [2, "y"]],
        "none": [],
        "lost+found": {"1": {"deep": 1}, "a key": 3},
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a {\n b = 1\n", "has no name where one should be, at line 3"),
        ("}", "has no name where one should be, at line 1"),
        ("a", "has neither = nor { after 'a', at line 1"),
        ("a b", "has neither = nor { after 'a', at line 1"),
        ("a =\n}", "has no value where one should be, at line 2"),
        ("a =", "has no value where one should be, at line 1"),
        ("a = [1", "has a list that does not go on, at line 1"),
        ("a = [1 2]", "has a list that does not go on, at line 1"),
        ('\n"open', "cannot be read at line 2"),
        ("a {" * 30, "has too many sections within each other"),
        ("a = " + "[" * 30, "has too many lists within each other"),
    ],
)
def test_what_is_wrong_with_a_text(text: str, told: str) -> None:
    with pytest.raises(DamagedError) as caught:
        parse(text)
    assert str(caught.value) == told


FOREIGN = """
data { id = "vgid" seqno = 12 extent_size = 2048 status = ["RESIZEABLE"] future { key = 1 }
 physical_volumes { pv0 { id = "one" pe_start = 4096 pe_count = 50 flags = [] device = "/dev/sda" dev_size = 106496 }
                    pv3 { id = "two" pe_start = 2048 pe_count = 60 } }
 logical_volumes {
  pool { id = "p" status = ["READ", "VISIBLE"] segment_count = 1
   segment1 { start_extent = 0 extent_count = 10 type = "thin-pool" metadata = "pool_tmeta" pool = "pool_tdata" } }
  thin { id = "t" status = ["VISIBLE"] segment_count = 1
   segment1 { start_extent = 0 extent_count = 500 type = "thin" thin_pool = "pool" device_id = 1 } }
  pool_tdata { id = "d" status = ["READ"] segment_count = 2
   segment2 { start_extent = 4 extent_count = 6 type = "striped" stripe_count = 1 stripes = ["pv3", 0] }
   segment1 { start_extent = 0 extent_count = 4 type = "striped" stripe_count = 1 stripes = ["pv0", 2] } }
  pool_tmeta { id = "m" status = ["READ"] segment_count = 1
   segment1 { start_extent = 0 extent_count = 1 type = "striped+flag" stripe_count = 1 stripes = ["pv0", 0] } }
  copy { id = "c" status = ["VISIBLE"] segment_count = 1
   segment1 { start_extent = 0 extent_count = 3 type = "mirror" mirror_count = 2 mirrors = ["a", 0, "b", 0] } }
  layer { id = "l" status = ["VISIBLE"] segment_count = 1
   segment1 { start_extent = 0 extent_count = 3 type = "striped" stripe_count = 1 stripes = ["copy", 0] } }
 }
}
contents = "Text Format Volume Group" version = 1 creation_host = "h" creation_time = 99
"""


def test_kinds_that_we_do_not_write_are_names() -> None:
    described = interpret(FOREIGN)
    assert described.version == 12
    assert {one.name: (one.type, one.visible) for one in described.volumes} == {
        "pool": ("thin-pool", True),
        "thin": ("thin", True),
        "pool_tdata": ("linear", False),
        "pool_tmeta": ("linear", False),
        "copy": ("mirror", True),
        "layer": ("striped", True),
    }
    group = described.group
    assert (group.name, group.uuid, group.extent_size, group.epoch, group.host) == ("data", "vgid", MIB, 99, "h")
    assert [(one.name, one.size, one.extents, one.start) for one in group.physical] == [
        ("pv0", 52 * MIB, 50, 2 * MIB),
        ("pv3", 0, 60, MIB),
    ]
    assert [len(one.segments) for one in group.logical] == [0, 0, 2, 1, 0, 0]
    assert [one.extents for one in group.logical] == [10, 500, 10, 1, 3, 3]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("extent_size = 2048", "extent_size = 0", "has no number extent_size"),
        ('id = "vgid"', "id = 5", "has no text id"),
        ("seqno = 12", "seqno = -1", "has no number seqno"),
        ("version = 1", "version = 2", "is of an unknown version"),
        ("pe_count = 60", "", "has no number pe_count"),
        ("pe_count = 60", "pe_count = 5", "has extents beyond the end of the physical volume 'pv3'"),
        ('["pv3", 0]', '["pv9", 0]', "has extents on 'pv9', which is not in the group"),
        ('["pv3", 0]', '["pv3"]', "has no list stripes of a name and a number"),
        ("segment_count = 2", "segment_count = 3", "has another number of segments than it says for"),
        ("start_extent = 4", "start_extent = 5", "has a gap in the logical volume 'pool_tdata'"),
        ("creation_time = 99", "more { }", "has 2 volume groups, not one"),
    ],
)
def test_metadata_that_contradicts_itself(old: str, new: str, told: str) -> None:
    assert old in FOREIGN
    with pytest.raises(DamagedError) as caught:
        interpret(FOREIGN.replace(old, new))
    assert str(caught.value).startswith(told)
