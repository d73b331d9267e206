"""Layouts: whatever a configuration asks for, what comes out is in order, aligned, apart and inside its disk."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blockdev.assemble import write_table
from blockdev.bootloader.embed import place_for_core
from blockdev.configuration.read import read
from blockdev.core.errors import UsageError
from blockdev.layout.fstab import fstab
from blockdev.layout.json import from_data, to_data
from blockdev.layout.model import Layout
from blockdev.layout.options import Options
from blockdev.layout.plan import plan
from tests.examples import examples

MIB = 1 << 20
TREE = 300 * MIB


def of(text: str, tree: int = TREE, **options: Any) -> Layout:
    return plan(read(text, "layout.yaml"), Options(**{"seed": "test", **options}), tree)


GPT = """
- local_loop:
    name: image0
- partitioning:
    base: image0
    label: gpt
    partitions:
      - name: ESP
        type: EF00
        size: 64MiB
        mkfs:
          type: vfat
          mount:
            mount_point: /boot/efi
            fstab: {options: umask=0077}
      - name: BSP
        type: EF02
        size: 1MiB
      - name: root
        size: 100%
        mkfs:
          mount:
            mount_point: /
            fstab: {options: "defaults,noatime", fsck-passno: 1}
"""
MBR = """
- local_loop:
    name: image0
    size: 1000MiB
- partitioning:
    base: image0
    label: mbr
    partitions:
      - {name: root, flags: [boot, primary], size: 50%, mkfs: {mount: {mount_point: /, fstab: {}}}}
      - {name: swap, type: 0x82, size: 100MiB, mkfs: {type: swap, label: swap, mount: {mount_point: swap, fstab: {}}}}
      - {name: srv, size: 100%, mkfs: {type: xfs, label: srv, mount: {mount_point: /srv}}}
"""


def test_gpt_from_1_mib_on_in_whole_mib() -> None:
    layout = of(GPT)
    (disk,) = layout.disks
    assert [(slot.number, slot.start, slot.length) for slot in disk.slots[:2]] == [
        (1, MIB, 64 * MIB),
        (2, 65 * MIB, MIB),
    ]
    root = disk.slots[2]
    assert root.start == 66 * MIB
    assert root.length == disk.size - 67 * MIB  # 100% is what is left but 2 MiB
    assert root.length >= TREE / 0.6 + 64 * MIB
    assert disk.size % MIB == 0


def test_mbr_as_diskimage_builder_places_it() -> None:
    """A percentage is one of what is left, less one unit; a logical partition lies a unit behind its own table."""
    (disk,) = of(MBR).disks
    free = 1000 * MIB - 2 * MIB
    root, extended, swap, srv = disk.slots
    assert (root.kind, root.number, root.start, root.length, root.bootable) == ("primary", 1, MIB, free // 2, True)
    at = 500 * MIB
    assert (extended.kind, extended.number, extended.type, extended.start) == ("extended", 2, "0f", at)
    assert extended.end == 1000 * MIB
    assert (swap.kind, swap.number, swap.type, swap.start, swap.length) == ("logical", 5, "82", at + MIB, 100 * MIB)
    assert (srv.number, srv.start, srv.end) == (6, at + 102 * MIB, 1000 * MIB)


def test_the_root_takes_what_the_options_say_and_other_nodes_do_not() -> None:
    layout = of(GPT, root_type="xfs", root_label="mine", root_options=("-K",))
    root, efi = layout.root, layout.file_systems[1]
    assert (root.kind, root.label, root.options) == ("xfs", "mine", ("-K",))
    assert (efi.kind, efi.label, efi.options) == ("vfat", "MKFS_ESP", ())
    assert of(GPT).root.options == ("-i", "4096", "-J", "size=64")
    assert of(GPT).root.label == "cloudimg-rootfs"
    assert of(GPT, root_type="xfs").root.label == "img-rootfs"


def test_sizes() -> None:
    assert of(GPT, size=1234 * MIB + 1).disks[0].size == 1234 * MIB + 65536  # up to diskimage-builder's 64 KiB
    small, large = of(GPT, extra=0), of(GPT, extra=500 * MIB)
    assert large.disks[0].size - small.disks[0].size == 500 * MIB
    assert small.storages["root"].size >= TREE + 64 * MIB
    with pytest.raises(UsageError, match="the tree needs a root file system of 300 MiB at least"):
        of(GPT, size=200 * MIB)


def test_a_percentage_of_a_gpt_is_one_of_what_was_not_asked_for() -> None:
    """Not of what the partitions before it were cut to: 200 MB are 190 MiB on the disk, and count as 200000000."""
    text = GPT.replace("size: 64MiB", "size: 200MB").replace("size: 1MiB", "size: 1500000")
    slots = of(text, size=2048 * MIB).disks[0].slots
    left = 2048 * MIB - 2 * MIB - 200_000_000 - 1_500_000
    assert [slot.length // MIB for slot in slots] == [190, 1, left // MIB]
    assert slots[2].length % MIB == 0


def test_a_partition_of_a_gpt_below_1_mib_is_refused() -> None:
    """sgdisk would be asked for 0 MiB, which means all that is left."""
    for size, bytes_ in (("1000000B", 1_000_000), ("0.01%", 207_827)):
        with pytest.raises(UsageError, match=f"it comes to {bytes_} bytes, and partitions of a gpt are whole"):
            of(GPT.replace("size: 1MiB", f"size: {size}"), size=2048 * MIB)


def test_a_disk_is_as_large_as_its_configuration_says_to_the_byte() -> None:
    assert of(MBR.replace("1000MiB", "1G")).disks[0].size == 10**9
    assert of(MBR.replace("\n    size: 1000MiB", ""), size=10**9).disks[0].size == 10**9 // 65536 * 65536 + 65536
    exact = of(MBR.replace("1000MiB", "1G").replace("label: mbr", "label: gpt").replace("flags: [boot, primary], ", "")
               .replace("type: 0x82", "type: 8200"), block_size=4096)  # fmt: skip
    assert exact.disks[0].size == 10**9
    assert all(slot.end <= 10**9 // 4096 * 4096 - 5 * 4096 for slot in exact.disks[0].slots)
    with pytest.raises(UsageError, match="no whole number of sectors") as refused:
        of(MBR.replace("1000MiB", "1000000001"))
    assert "1000000000 are" in str(refused.value)


def test_what_has_no_effect_is_remarked_upon() -> None:
    gpt = GPT.replace("label: gpt", "label: gpt\n    align: 4MiB").replace(
        "size: 1MiB", "size: 1MiB\n        flags: [boot]"
    )
    remarks = " ".join(of(gpt.replace("name: image0", "name: image0\n    directory: /srv")).remarks)
    for line, key in ((4, "directory"), (8, "align"), (21, "boot")):
        assert f"layout.yaml:{line}: " in remarks, remarks
        assert f"{key} has no effect" in remarks


LVM = """
- local_loop: {name: image0, size: 1GiB}
- mkfs: {name: fs, base: volume, type: ext4, mount: {mount_point: /}}
- partitioning: {base: image0, label: mbr, partitions: [{name: one, size: 100%}]}
- lvm:
    base: image0
    pvs: [{name: disk, base: one}]
    vgs: [{name: group, base: [disk]}]
    lvs: [{name: volume, base: group, size: 600MiB}]
"""


def test_options_for_swap_have_no_effect_but_for_the_page_size() -> None:
    swap = "{type: swap, label: swap,"
    other = of(MBR.replace(swap, f"{swap} opts: -m 1,"))
    assert next(system for system in other.file_systems if system.kind == "swap").options == ()
    assert "layout.yaml:10: mkfs: its opts have no effect" in other.remarks[0]
    for words, kept in (("-p 65536", ("-p", "65536")), ("[--pagesize, '16384']", ("--pagesize", "16384"))):
        pages = of(MBR.replace(swap, f"{swap} opts: {words},"))
        assert next(system for system in pages.file_systems if system.kind == "swap").options == kept
        assert not pages.remarks
    strict = yaml.safe_dump({"version": 2, "block-device": yaml.safe_load(MBR.replace(swap, f"{swap} opts: -m 1,"))})
    with pytest.raises(UsageError, match="opts is '-m 1'"):
        of(strict)


def test_lvm_without_a_name_of_its_own() -> None:
    for base in ("image0", "[one]", "[one, other]"):
        assert of(LVM.replace("base: image0\n    pvs", f"base: {base}\n    pvs")).storages["volume"].size == 600 * MIB
    (nested,) = yaml.safe_load(LVM)[3:]
    del nested["lvm"]["base"]  # it is the partition
    configuration = yaml.safe_load(LVM)[:3]
    configuration[2]["partitioning"]["partitions"][0].update(nested)
    assert of(yaml.safe_dump(configuration)).storages["volume"].size == 600 * MIB
    with pytest.raises(UsageError, match="lvm: the key 'name' is missing"):
        of(LVM.replace("    base: image0\n", ""))


def test_fstab_in_the_order_of_mounting() -> None:
    assert fstab(of(GPT)).splitlines() == [
        "LABEL=cloudimg-rootfs / ext4 defaults,noatime 0 1",
        "LABEL=MKFS_ESP /boot/efi vfat umask=0077 0 2",
    ]
    assert fstab(of(MBR)).splitlines() == ["LABEL=cloudimg-rootfs / ext4 defaults 0 2", "LABEL=swap none swap sw 0 0"]


def test_what_has_no_label_is_named_by_its_partition() -> None:
    layout = of(
        GPT.replace(
            "mkfs:\n          mount:\n            mount_point: /\n",
            "mkfs:\n          type: squashfs\n          mount:\n            mount_point: /\n",
        )
    )
    uuid = layout.disks[0].slots[2].uuid.lower()
    assert fstab(layout).startswith(f"PARTUUID={uuid} / squashfs defaults,noatime 0 1\n")


def test_graph_form_is_the_same_as_tree_form() -> None:
    graph = """
- mkfs: {name: mkfs_root, base: root}
- fstab: {name: line, base: there, options: "defaults,noatime", fsck-passno: 1}
- mount: {name: there, base: mkfs_root, mount_point: /}
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - {name: ESP, type: EF00, size: 64MiB}
      - {name: BSP, type: EF02, size: 1MiB}
      - {name: root, size: 100%}
- mkfs: {name: mkfs_ESP, base: ESP, type: vfat}
- mount: {name: efi, base: mkfs_ESP, mount_point: /boot/efi}
- fstab: {name: line2, base: efi, options: umask=0077}
"""
    assert of(graph).disks == of(GPT).disks
    assert of(graph).file_systems == of(GPT).file_systems


def test_unknown_keys_are_remarked_upon() -> None:
    text = GPT.replace("        type: EF02\n", "        type: EF02\n        comment: for BIOS\n")
    assert of(text).remarks == ("layout.yaml:18: partition 'BSP': nobody looks at the key 'comment'",)


def test_the_same_request_gives_the_same_layout_and_another_name_other_ids() -> None:
    assert of(GPT) == of(GPT)
    one, other = of(GPT), of(GPT, seed="other")
    ids = [{disk.id, *(slot.uuid for slot in disk.slots)} for disk in (*one.disks, *other.disks)]
    assert not ids[0] & ids[1]
    assert {system.uuid for system in one.file_systems}.isdisjoint(system.uuid for system in other.file_systems)


def test_as_json_and_back() -> None:
    for text in (GPT, MBR):
        layout = of(text)
        assert from_data(json.loads(json.dumps(to_data(layout)))) == layout


def test_version_2_takes_percentages_of_the_whole_disk() -> None:
    text = """
version: 2
block-device:
  - local_loop: {name: image0, size: 1002MiB}
  - partitioning:
      base: image0
      label: gpt
      align: 4MiB
      partitions:
        - {name: a, size: 10%, mkfs: {type: ext4, mount: {mount_point: /srv}}}
        - {name: b, size: 50%, mkfs: {mount: {mount_point: /}}}
        - {name: c, size: rest}
"""
    a, b, c = of(text, 100 * MIB).disks[0].slots
    assert [a.length, b.length] == [100 * MIB, 500 * MIB]
    assert [slot.start % (4 * MIB) for slot in (a, b, c)] == [0, 0, 0]
    assert (c.start, c.end) == (604 * MIB, 1001 * MIB)


def test_a_disk_grows_until_its_volumes_have_room() -> None:
    text = """
- local_loop: {name: image0}
- partitioning: {base: image0, label: gpt, partitions: [{name: pv, type: 8E00, size: 100%}]}
- lvm:
    name: lvm
    pvs: [{name: pv0, base: pv}]
    vgs: [{name: vg, base: [pv0]}]
    lvs: [{name: lv_var, base: vg, size: 400MiB}, {name: lv_root, base: vg, extents: 100%FREE}]
- mkfs: {name: mkfs_root, base: lv_root, mount: {mount_point: /}}
- mkfs: {name: var, base: lv_var, type: ext4, mount: {mount_point: /var}}
"""
    layout = of(text)
    assert layout.storages["lv_var"].size == 400 * MIB
    assert layout.storages["lv_root"].size >= TREE / 0.6 + 64 * MIB
    assert layout.disks[0].size < 1200 * MIB


def test_place_for_a_bios_loader() -> None:
    assert place_for_core(of(GPT).disks[0]) == (65 * MIB, MIB)
    assert place_for_core(of(MBR).disks[0]) == (512, MIB - 512)
    assert place_for_core(
        of("- local_loop: {name: image0, mkfs: {name: mkfs_root, mount: {mount_point: /}}}").disks[0]
    ) == (0, 0)


@st.composite
def configurations(draw: st.DrawFn) -> str:
    label = draw(st.sampled_from(["gpt", "mbr"]))
    count = draw(st.integers(1, 8))
    primaries = draw(st.integers(0, min(3, count))) if label == "mbr" else 0
    partitions = []
    for number in range(count):
        size = draw(
            st.one_of(
                st.integers(1, 3 * MIB).map(lambda value: f"{value}KiB"),
                st.integers(1, 900).map(lambda value: f"{value}MiB"),
                st.floats(1, 100).map(lambda value: f"{value:.2f}%"),
            )
        )
        entry: dict[str, Any] = {"name": f"part{number}", "size": size}
        if number < primaries:
            entry["flags"] = ["primary"]
        partitions.append(entry)
    partitions[draw(st.integers(0, count - 1))]["mkfs"] = {"name": "mkfs_root", "mount": {"mount_point": "/"}}
    disk: dict[str, Any] = {"name": "image0"}
    if draw(st.booleans()):
        disk["size"] = f"{draw(st.integers(64, 9000))}MiB"
    if label == "gpt" and draw(st.booleans()):
        disk["block_size"] = 4096
    table = {"base": "image0", "label": label, "partitions": partitions}
    if label == "mbr":
        table["align"] = draw(st.sampled_from(["512", "32KiB", "1MiB", "4MiB"]))
    return str(yaml.safe_dump([{"local_loop": disk}, {"partitioning": table}]))


@given(configurations(), st.integers(0, 500 * MIB))
def test_partitions_are_in_order_aligned_apart_and_inside(text: str, tree: int) -> None:
    try:
        layout = of(text, tree)
    except UsageError as error:
        assert re.search(r"(wants|needs) .* (left|least)|are whole MiB", str(error))
        return
    (disk,) = layout.disks
    assert disk.size % 65536 == 0
    slots = [slot for slot in disk.slots if slot.kind != "extended"]
    tail = 34 * disk.sector if disk.table == "gpt" and disk.sector == 512 else 0
    at = disk.sector
    for slot in slots:
        assert slot.start >= at
        assert slot.length > 0
        assert slot.start % disk.sector == 0 == slot.length % disk.sector
        if disk.table == "gpt":
            assert slot.start % MIB == 0 == slot.length % MIB
        at = slot.end
    assert at <= disk.size - tail
    extended = [slot for slot in disk.slots if slot.kind == "extended"]
    for slot in slots:
        if slot.kind == "logical":
            assert extended[0].start < slot.start
            assert slot.end <= extended[0].end
    assert layout.storages["part" + next(s.name for s in slots if layout.root.storage == s.name)[4:]].size >= tree


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=configurations())
def test_sfdisk_agrees(text: str, tmp_path: Path) -> None:
    """What was planned is what another program finds in the table, and it has nothing to complain of."""
    try:
        layout = of(text, 10 * MIB)
    except UsageError:
        return
    (disk,) = layout.disks
    image = tmp_path / "disk.raw"
    image.unlink(missing_ok=True)
    with image.open("wb") as file:
        file.truncate(disk.size)
    write_table(disk, image)
    if disk.sector == 512:
        found = json.loads(subprocess.run(["sfdisk", "--json", image], capture_output=True, check=True).stdout)
        table = found["partitiontable"]
        assert [
            (part["start"] * 512, part["size"] * 512, part["type"].upper().zfill(2)) for part in table["partitions"]
        ] == [(slot.start, slot.length, slot.type.upper()) for slot in disk.slots]
        assert int(table["id"].replace("-", ""), 16) == int(disk.id.replace("-", ""), 16)
        verified = subprocess.run(["sfdisk", "--verify", image], capture_output=True, text=True, check=True)
        assert "No errors" in verified.stdout
    first = image.read_bytes() if disk.size < 64 * MIB else b""
    image.unlink()
    with image.open("wb") as file:
        file.truncate(disk.size)
    write_table(disk, image)
    assert not first or first == image.read_bytes()


def test_names_that_need_quotes(tmp_path: Path) -> None:
    text = GPT.replace("name: BSP", """name: 'a "b" \\ c'""")
    (disk,) = of(text).disks
    image = tmp_path / "disk.raw"
    with image.open("wb") as file:
        file.truncate(disk.size)
    write_table(disk, image)
    found = json.loads(subprocess.run(["sfdisk", "--json", image], capture_output=True, check=True).stdout)
    assert found["partitiontable"]["partitions"][1]["name"] == 'a "b" \\ c'
