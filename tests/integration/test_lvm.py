"""Volume groups that Debian's LVM accepts from us, and that we read from it: the same names, places and UUIDs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from blockdev.core.errors import BuildError
from blockdev.filesystems.region import Region, holds
from blockdev.lvm.allocate import VolumeSpec, allocate
from blockdev.lvm.model import LogicalVolume, PhysicalVolume, Segment, VolumeGroup, places
from blockdev.lvm.read import GroupDescription, read
from blockdev.lvm.write import write
from tests.integration.engine_cases import missing
from tests.integration.lvm_tools import CONFIG, MIB, PATH, Lvm, attached, blank

EPOCH = 1_700_000_000


@pytest.fixture
def lvm(tmp_path: Path) -> Lvm:
    if not shutil.which("lvm", path=PATH):
        missing("there is no lvm (package lvm2)")
    if os.geteuid() or not Path("/dev/loop-control").exists():
        missing("only root can make loop devices, and only where the kernel has them")
    folder = tmp_path / "lvm"
    folder.mkdir()
    (folder / "lvm.conf").write_text(CONFIG.format(lock=folder / "lock"))
    return Lvm(folder)


def one_volume(folder: Path) -> tuple[VolumeGroup, dict[str, Region]]:
    regions = {"pv": Region(blank(folder / "disk", 70 * MIB), 2 * MIB, 64 * MIB + 512)}
    group = allocate("vg", [("pv", 64 * MIB + 512)], [VolumeSpec("lv_root", 21 * MIB)], seed="s", epoch=EPOCH)
    return group, regions


def spanning(folder: Path) -> tuple[VolumeGroup, dict[str, Region]]:
    """Two physical volumes on one disk, one of them with a name that is no word, and a volume on both."""
    disk = blank(folder / "disk", 200 * MIB)
    regions = {"main pv/1": Region(disk, MIB, 60 * MIB), "second": Region(disk, 70 * MIB, 100 * MIB)}
    sizes = [(name, region.length) for name, region in regions.items()]
    wanted = [VolumeSpec("a-b", extents="25%VG"), VolumeSpec("both", 80 * MIB), VolumeSpec("rest", extents="100%FREE")]
    return allocate("my-vg", sizes, wanted, seed="s", epoch=EPOCH), regions


def twelve(folder: Path) -> tuple[VolumeGroup, dict[str, Region]]:
    regions = {"pv": Region(blank(folder / "disk", 300 * MIB), 0, 300 * MIB)}
    wanted = [VolumeSpec(f"lv.{number}+_x", number * 3 * MIB) for number in range(1, 13)]
    return allocate("vg12", [("pv", 300 * MIB)], wanted, seed="s", epoch=EPOCH, extent_size=MIB), regions


CASES = {"one": one_volume, "spanning": spanning, "twelve": twelve}


def segments(lvm: Lvm, group: VolumeGroup) -> list[dict[str, str]]:
    """What ``lvs`` should say of each segment."""
    devices = {name: device for device, name in lvm.names.items()}
    rows = [
        {
            "lv_name": volume.name,
            "lv_uuid": volume.uuid,
            "lv_size": str(volume.extents * group.extent_size),
            "segtype": "linear",
            "seg_start_pe": str(segment.first),
            "seg_pe_ranges": f"{devices[segment.physical]}:{segment.start}-{segment.start + segment.count - 1}",
        }
        for volume in group.logical
        for segment in volume.segments
    ]
    return sorted(rows, key=lambda row: tuple(row.values()))


@pytest.mark.parametrize("case", CASES)
def test_lvm_reports_what_we_wrote(case: str, lvm: Lvm, tmp_path: Path) -> None:
    group, regions = CASES[case](tmp_path)
    write(group, regions)
    with attached(lvm, regions):
        assert lvm.report(
            "vgs", "vg_name,vg_uuid,vg_extent_size,vg_size,pv_count,lv_count,vg_seqno,vg_missing_pv_count"
        ) == [
            {
                "vg_name": group.name,
                "vg_uuid": group.uuid,
                "vg_extent_size": str(group.extent_size),
                "vg_size": str(sum(one.extents for one in group.physical) * group.extent_size),
                "pv_count": str(len(group.physical)),
                "lv_count": str(len(group.logical)),
                "vg_seqno": "1",
                "vg_missing_pv_count": "0",
            }
        ]
        physical = lvm.report("pvs", "pv_name,pv_uuid,dev_size,pv_pe_count,pe_start,vg_name,pv_attr,pv_mda_count")
        assert {lvm.names[row.pop("pv_name")]: row for row in physical} == {
            one.name: {
                "pv_uuid": one.uuid,
                "dev_size": str(one.size),
                "pv_pe_count": str(one.extents),
                "pe_start": str(MIB),
                "vg_name": group.name,
                "pv_attr": "a--",
                "pv_mda_count": "1",
            }
            for one in group.physical
        }
        columns = "lv_name,lv_uuid,lv_size,segtype,seg_start_pe,seg_pe_ranges"
        assert lvm.report("lvs", columns, "--segments") == segments(lvm, group)
        times = {row["lv_time"] for row in lvm.report("lvs", "lv_name,lv_time")}
        assert times == {"2023-11-14 22:13:20 +0000"}
        lvm.run("vgck", group.name)
        for device in lvm.devices:
            told = lvm.run("pvck", device)
            assert f"Found label on {device}, sector 1, type=LVM2 001" in told
            assert "Found text metadata area: offset=4096, size=1044480" in told
            assert group.uuid in lvm.run("pvck", "--dump", "metadata", device)
            lvm.run("pvck", "--dump", "headers", device)


@pytest.mark.parametrize("case", CASES)
def test_lvm_goes_on_where_we_ended_and_we_read_that(case: str, lvm: Lvm, tmp_path: Path) -> None:
    group, regions = CASES[case](tmp_path)
    write(group, regions)
    before = {name: found(region) for name, region in regions.items()}
    with attached(lvm, regions):
        last = group.logical[-1]
        lvm.run("lvrename", group.name, last.name, "renamed")
        lvm.run("vgchange", "--addtag", "changed", group.name)
    for name, region in regions.items():
        first, now = before[name], found(region)
        assert first.group is not None and now.group is not None
        assert (first.version, now.version) == (1, 3)
        assert now.uuid == first.uuid
        renamed = (*group.logical[:-1], replace(last, name="renamed"))
        for one, other in zip(now.group.logical, renamed, strict=True):
            assert (one.name, one.uuid, places_by_uuid(now.group, one)) == (
                other.name,
                other.uuid,
                places_by_uuid(group, other),
            )


def places_by_uuid(group: VolumeGroup, volume: LogicalVolume) -> list[tuple[str, int, int]]:
    """Where a volume lies, whatever its physical volumes are called."""
    uuids = {one.name: one.uuid for one in group.physical}
    return [(uuids[name], offset, length) for name, offset, length in places(group, volume)]


def found(region: Region) -> GroupDescription:
    answer = read(region.image, region.offset, region.length)
    assert answer is not None
    return answer


def reported(lvm: Lvm, name: str) -> VolumeGroup:
    """A group as LVM reports it, with the names that it gives its physical volumes in the text."""
    (row,) = lvm.report("vgs", "vg_uuid,vg_extent_size", name)
    extent = int(row["vg_extent_size"])
    text = lvm.run("pvck", "--dump", "metadata", lvm.devices[-1])  # pvck wants a label in sector 1
    keys = {uuid: key for key, uuid in re.findall(r'^(pv\d+) \{\nid = "([^"]+)"', text, flags=re.MULTILINE)}
    rows = lvm.report("pvs", "pv_name,pv_uuid,dev_size,pv_pe_count,pe_start,vg_name")
    names = {one["pv_name"]: keys[one["pv_uuid"]] for one in rows if one["vg_name"] == name}
    physical = [
        PhysicalVolume(
            names[one["pv_name"]], one["pv_uuid"], int(one["dev_size"]), int(one["pv_pe_count"]), int(one["pe_start"])
        )
        for one in rows
        if one["vg_name"] == name
    ]
    volumes: dict[str, LogicalVolume] = {}
    columns = "lv_name,lv_uuid,lv_size,seg_start_pe,seg_pe_ranges,segtype"
    for one in sorted(lvm.report("lvs", columns, "--segments", name), key=lambda row: int(row["seg_start_pe"])):
        linear = re.fullmatch(r"(\S+):(\d+)-(\d+)", one["seg_pe_ranges"]) if one["segtype"] == "linear" else None
        before = volumes.get(one["lv_name"], LogicalVolume("", "", 0, ())).segments
        segment: tuple[Segment, ...] = ()
        if linear:
            low, high = int(linear[2]), int(linear[3])
            segment = (Segment(int(one["seg_start_pe"]), high + 1 - low, names[linear[1]], low),)
        volumes[one["lv_name"]] = LogicalVolume(
            one["lv_name"], one["lv_uuid"], int(one["lv_size"]) // extent, before + segment
        )
    time = re.findall(r"^creation_time = (\d+)", text, flags=re.MULTILINE)[-1]
    host = re.findall(r'^creation_host = "([^"]*)"', text, flags=re.MULTILINE)[-1]
    return VolumeGroup(name, row["vg_uuid"], extent, tuple(physical), tuple(volumes.values()), int(time), host)


def ordered(group: VolumeGroup) -> VolumeGroup:
    return replace(
        group,
        physical=tuple(sorted(group.physical, key=lambda one: one.name)),
        logical=tuple(sorted(group.logical, key=lambda one: one.name)),
    )


CREATE = ("-an", "-Zn", "-Wn")


def check_read(lvm: Lvm, name: str, regions: dict[str, Region]) -> GroupDescription:
    """Every physical volume leads to the group that LVM reports; returns what the first of them says."""
    expected = ordered(reported(lvm, name))
    answers = [found(region) for region in regions.values()]
    for answer in answers:
        assert answer.group is not None
        assert ordered(answer.group) == expected
        assert answer.uuid == next(one.uuid for one in expected.physical if one.name == answer.physical)
    return answers[0]


def test_we_read_what_lvm_wrote(lvm: Lvm, tmp_path: Path) -> None:
    """Two physical volumes made differently, volumes in several segments, and one over two stripes."""
    disk = blank(tmp_path / "disk", 300 * MIB)
    regions = {"a": Region(disk, MIB, 50 * MIB), "b": Region(disk, 60 * MIB, 90 * MIB)}
    with attached(lvm, regions):
        first, second = lvm.devices
        lvm.run("pvcreate", "--labelsector", "3", first)
        lvm.run("pvcreate", "--metadatacopies", "2", "--dataalignment", "3m", second)
        lvm.run("vgcreate", "--physicalextentsize", "1m", "foreign", first, second)
        lvm.run("lvcreate", *CREATE, "-l", "20", "-n", "one", "foreign", first)
        lvm.run("lvcreate", *CREATE, "-l", "5", "-n", "two", "foreign", first)
        lvm.run("lvextend", "-l", "+20", "foreign/one")
        lvm.run("lvcreate", *CREATE, "-i", "2", "-I", "64k", "-l", "4", "-n", "wide", "--addtag", "a+tag", "foreign")
        lvm.run("lvcreate", *CREATE, "--type", "zero", "-l", "9", "-n", "nothing", "foreign")
        lvm.run("lvcreate", *CREATE, "-l", "100%FREE", "-n", "spanning", "foreign")
        answer = check_read(lvm, "foreign", regions)
    assert answer.group is not None
    kinds = {one.name: (one.type, one.visible) for one in answer.volumes}
    linear = ("linear", True)
    others = {"wide": ("striped", True), "nothing": ("zero", True)}
    assert kinds == {"one": linear, "two": linear, "spanning": linear, **others}
    counts = {one.name: len(one.segments) for one in answer.group.logical}
    assert counts == {"one": 2, "two": 1, "spanning": 2, "wide": 0, "nothing": 0}


def test_what_lvm_writes_round_its_ring_is_read(lvm: Lvm, tmp_path: Path) -> None:
    """LVM writes each version behind the last one; at the end of the area one goes on at the begin."""
    region = Region(blank(tmp_path / "disk", 20 * MIB), 0, 20 * MIB)
    wrapped = False
    with attached(lvm, {"pv": region}):
        lvm.run("pvcreate", "--metadatasize", "16k", "--dataalignment", "64k", *lvm.devices)
        lvm.run("vgcreate", "ring", *lvm.devices)
        lvm.run("lvcreate", *CREATE, "-l", "2", "-n", "volume", "ring")
        for number in range(60):
            lvm.run("lvchange", "--addtag", f"tag{number}" + "x" * 40, "ring/volume")
            with region.image.open("rb") as file:
                area = file.read(64 << 10)
            size = int.from_bytes(area[4096 + 32 : 4096 + 40], "little")
            offset, length = (int.from_bytes(area[at : at + 8], "little") for at in (4096 + 40, 4096 + 48))
            check_read(lvm, "ring", {"pv": region})
            if offset + length > size:
                wrapped = True
                break
    assert wrapped


def test_a_physical_volume_without_a_group(lvm: Lvm, tmp_path: Path) -> None:
    region = Region(blank(tmp_path / "disk", 20 * MIB), 0, 20 * MIB)
    with attached(lvm, {"pv": region}):
        lvm.run("pvcreate", *lvm.devices)
        (row,) = lvm.report("pvs", "pv_uuid")
    assert read(region.image, 0, region.length) == GroupDescription(row["pv_uuid"], 20 * MIB)


@pytest.mark.parametrize(
    ("before", "extents"),
    [
        ((), "7"),
        ((), "+7"),
        ((), "33%VG"),
        ((), "150%FREE"),
        (("60%VG",), "60%VG"),
        (("9",), "50%FREE"),
        (("9",), "77%pvs"),
        (("1",), "99%F"),
        ((), "1%VG"),
        (("100%FREE",), "40%PVS"),
        (("100%FREE",), "100%FREE"),
        (("9",), "12"),
        ((), "0"),
        ((), "1.5%VG"),
        ((), "50 %VG"),
        ((), "half"),
        ((), "50%"),
    ],
)
def test_extents_mean_what_lvcreate_makes_of_them(
    before: Sequence[str], extents: str, lvm: Lvm, tmp_path: Path
) -> None:
    """The same number of extents, or a refusal by both."""
    region = Region(blank(tmp_path / "disk", 69 * MIB), 0, 69 * MIB)
    wanted = [VolumeSpec(f"lv{number}", extents=one) for number, one in enumerate((*before, extents))]
    try:
        group = allocate("group", [("pv", region.length)], wanted, seed="s", epoch=EPOCH)
    except BuildError:
        group = None
    with attached(lvm, {"pv": region}):
        lvm.run("pvcreate", *lvm.devices)
        lvm.run("vgcreate", "group", *lvm.devices)
        for one in wanted[:-1]:
            lvm.run("lvcreate", *CREATE, "-l", one.extents, "-n", one.name, "group")
        last = ("-l", extents, "-n", wanted[-1].name, "group")
        if group is None:
            lvm.run("lvcreate", *CREATE, *last, succeeds=False)
            return
        lvm.run("lvcreate", *CREATE, *last)
        sizes = {row["lv_name"]: int(row["lv_size"]) for row in lvm.report("lvs", "lv_name,lv_size")}
    assert sizes == {one.name: one.extents * group.extent_size for one in group.logical}


def test_grub_finds_files_in_a_volume(tmp_path: Path) -> None:
    """GRUB reads the text metadata in a way of its own; here also over two physical volumes."""
    if not shutil.which("grub-fstest"):
        missing("there is no grub-fstest (package grub-common)")
    sizes = [("main-1", 33 * MIB), ("second", 33 * MIB)]
    disks = {name: Region(blank(tmp_path / name, size), 0, size) for name, size in sizes}
    wanted = [VolumeSpec("first", extents="5"), VolumeSpec("root", extents="100%FREE")]
    group = allocate("boot", sizes, wanted, seed="s", epoch=EPOCH)
    write(group, disks)
    root = group.logical[1]
    tree = tmp_path / "tree"
    tree.mkdir()
    content = bytes(range(256)) * (20 << 10)  # more than what is of the volume on the first physical volume
    (tree / "file").write_bytes(content)
    plain = blank(tmp_path / "plain", root.extents * group.extent_size)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-m", "0", "-d", tree, plain], check=True, env={"PATH": PATH})
    whole = plain.read_bytes()
    at = 0
    for name, offset, length in places(group, root):
        with disks[name].image.open("r+b") as file:
            file.seek(offset)
            file.write(whole[at : at + length])
        at += length
    assert at == len(whole)
    images = [str(disks[name].image) for name, _ in sizes]
    line = ["grub-fstest", "-c", str(len(images)), *images, "cat", "(lvm/boot-root)/file"]
    done = subprocess.run(line, capture_output=True, check=False, env={"PATH": PATH}, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == content


def test_what_we_write_is_sparse(tmp_path: Path) -> None:
    group, regions = one_volume(tmp_path)
    write(group, regions)
    assert holds(regions["pv"]) <= 32 << 10
