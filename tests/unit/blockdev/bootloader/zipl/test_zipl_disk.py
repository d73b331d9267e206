"""Disks with zipl's tables: what they start, where the partition lies, and what an inspection says."""

from __future__ import annotations

import dataclasses
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockdev.bootloader.embed import check_zipl, embed_loaders, place_for_zipl
from blockdev.bootloader.zipl import tables
from blockdev.bootloader.zipl.placement import lay_out
from blockdev.bootloader.zipl.write import embed
from blockdev.configuration.read import read as read_layout
from blockdev.configuration.types import ZIPL
from blockdev.core.errors import BuildError, UsageError
from blockdev.inspect import bootloaders
from blockdev.inspect import table as inspected_table
from blockdev.inspect.bytes_view import Memory, View
from blockdev.inspect.signatures import identify
from blockdev.layout.model import Layout
from blockdev.layout.options import Options
from blockdev.layout.plan import plan
from tests.unit.blockdev.bootloader.zipl.zipl_cases import BLOCK, CONF, LINE, MIB, blank, image, started, tree_with


def test_a_disk_starts_what_the_settings_name(tmp_path: Path) -> None:
    tree, disk = tree_with(tmp_path), blank(tmp_path)
    placed = embed(disk, tree, MIB, 7 * MIB)
    content = disk.read_bytes()
    assert content[32:MIB] == bytes(440 - 32) + b"\x11" * 72 + bytes(MIB - BLOCK), "the table and what follows it stay"
    memory, entry = started(content)
    assert entry == 0x10000
    first, second = memory[0x10000], memory[16 * MIB]
    ramdisk = (tree / "boot/initrd.img-6.1").read_bytes()
    assert second == ramdisk.ljust(len(second), b"\0")
    assert struct.unpack_from(">QQ", first, 0x408) == (16 * MIB, len(ramdisk))
    assert first[0x480:].partition(b"\0")[0] == LINE.encode()
    assert first[0x1480:] == image()[0x11480:].ljust(len(first) - 0x1480, b"\0")
    assert content[MIB + placed.takes :] == bytes(len(content) - MIB - placed.takes)
    again = tmp_path / "again"
    again.mkdir()
    embed(blank(again), tree, MIB, 7 * MIB)
    assert (again / "disk").read_bytes() == content


def test_a_program_of_many_segment_tables(tmp_path: Path) -> None:
    """More than 31 MiB: a second table follows the first."""
    tree, disk = tree_with(tmp_path, ramdisk=33 * MIB), blank(tmp_path, 40 * MIB)
    embed(disk, tree, MIB, 39 * MIB)
    memory, _ = started(disk.read_bytes())
    assert memory[16 * MIB] == (tree / "boot/initrd.img-6.1").read_bytes()


def test_without_a_ram_disk(tmp_path: Path) -> None:
    tree, disk = tree_with(tmp_path, CONF.replace("ramdisk=/initrd.img\n", "")), blank(tmp_path)
    embed(disk, tree, MIB, 7 * MIB)
    memory, _ = started(disk.read_bytes())
    assert list(memory) == [0x10000]
    assert struct.unpack_from(">QQ", memory[0x10000], 0x408) == (0, 0)


def test_too_little_room_is_told_before_anything_is_written(tmp_path: Path) -> None:
    tree, disk = tree_with(tmp_path), blank(tmp_path)
    before = disk.read_bytes()
    with pytest.raises(
        BuildError, match=r"no room in the zIPL partition: they take 3\.1\d MiB, and there are 3 MiB"
    ) as e:
        embed(disk, tree, MIB, 3 * MIB)
    assert "make the partition larger in a layout of your own" in e.value.hint
    assert disk.read_bytes() == before
    needs = lay_out(1, len(image()) - 0x10000, 3 * MIB + 5).takes
    embed(disk, tree, MIB, needs)
    with pytest.raises(BuildError, match="no room"):
        embed(disk, tree, MIB, needs - 1)


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("boot/vmlinuz-6.1", "a kernel that is not in the image: /vmlinuz"),
        ("boot/initrd.img-6.1", "a ram disk that is not in the image: /initrd.img"),
        ("etc/zipl.conf", "there is no /etc/zipl.conf"),
    ],
)
def test_a_file_that_is_missing_is_named(tmp_path: Path, missing: str, said: str) -> None:
    tree, disk = tree_with(tmp_path), blank(tmp_path)
    (tree / missing).unlink()
    before = disk.read_bytes()
    with pytest.raises(BuildError, match=said):
        embed(disk, tree, MIB, 7 * MIB)
    assert disk.read_bytes() == before


def test_links_do_not_lead_out_of_the_tree(tmp_path: Path) -> None:
    tree, disk = tree_with(tmp_path), blank(tmp_path)
    (tmp_path / "outside").write_bytes(image())
    (tree / "vmlinuz").unlink()
    (tree / "vmlinuz").symlink_to(tmp_path / "outside")
    with pytest.raises(BuildError, match="a kernel that is not in the image"):
        embed(disk, tree, MIB, 7 * MIB)


# -- the layout -----------------------------------------------------------------------------


def layout_of(table: str, *, kind: str, sector: int = 512) -> Layout:
    text = f"""
- local_loop: {{name: image0, block_size: {sector}}}
- partitioning:
    base: image0
    label: {table}
    partitions:
    - {{name: data, flags: [primary], type: {kind}, size: 4MiB, mkfs: {{type: ext4}}}}
    - {{name: zipl, flags: [primary], type: {kind}, size: 8MiB}}
    - {{name: root, flags: [primary], type: '83', size: 100%, mkfs: {{mount: {{mount_point: /, fstab: {{}}}}}}}}
"""
    if table == "gpt":
        text = text.replace("'83'", "'8300'").replace("flags: [primary], ", "")
    return plan(read_layout(text, "layout.yaml"), Options(seed="test"), 50 * MIB)


@pytest.mark.parametrize(("table", "kind"), [("mbr", "'0xDA'"), ("gpt", ZIPL), ("gpt", ZIPL.lower())])
def test_the_partition_is_found_by_its_type_and_inspected(tmp_path: Path, table: str, kind: str) -> None:
    from blockdev.assemble import write_table

    layout = layout_of(table, kind=kind)
    check_zipl(layout)
    home = place_for_zipl(layout)
    assert home and home[1].name == "zipl", "what a file system lies on is not taken"
    disk = tmp_path / "image"
    with disk.open("wb") as file:
        file.truncate(layout.disks[0].size)
    write_table(layout.disks[0], disk)
    assert embed_loaders(layout, tree_with(tmp_path), {"image0": disk}) == ("zIPL on zipl: 3.13 MiB of 8 MiB",)
    started(disk.read_bytes())
    view = View(Memory(disk.read_bytes()), 0, disk.stat().st_size)
    found = inspected_table.read(view)
    assert found.kind == table
    assert found.remarks == ()
    slot = home[1]
    assert identify(view.part(slot.start, slot.length)).kind == "zipl"
    boot = bootloaders.find(view, found, (), ())
    assert boot.code.kind == "zipl"
    assert not boot.ways["bios"].possible
    assert boot.ways["channel"].possible
    assert boot.ways["channel"].why == "zIPL's boot record loads 3.13 MiB from partition 2, and starts Linux"


def test_a_root_on_a_volume_needs_no_other_place() -> None:
    """Whatever lies on a partition of the type makes it another one: here a physical volume."""
    text = """
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: mbr
    partitions:
    - {name: pv, flags: [primary], type: '0xDA', size: 2GiB}
    - {name: zipl, flags: [primary], type: '0xDA', size: 128MiB}
- lvm:
    name: lvm
    pvs: [{name: pv0, base: pv}]
    vgs: [{name: vg, base: [pv0]}]
    lvs: [{name: lv_root, base: vg, extents: 100%FREE}]
- mkfs: {name: mkfs_root, base: lv_root, mount: {mount_point: /, fstab: {}}}
"""
    layout = plan(read_layout(text, "layout.yaml"), Options(seed="test"), 50 * MIB)
    check_zipl(layout)
    home = place_for_zipl(layout)
    assert home and home[1].name == "zipl"


def test_a_layout_without_a_place_is_refused() -> None:
    with pytest.raises(UsageError, match="the layout has none") as caught:
        check_zipl(layout_of("mbr", kind="'83'"))
    assert ZIPL in str(caught.value.hint)
    with pytest.raises(UsageError, match="'image0' has 4096"):
        check_zipl(layout_of("gpt", kind=ZIPL, sector=4096))


def test_a_tree_without_settings_leaves_the_disk_alone(tmp_path: Path) -> None:
    layout = layout_of("mbr", kind="'0xDA'")
    assert embed_loaders(layout, tmp_path, {}) == ()
    nowhere = dataclasses.replace(layout, disks=())
    assert embed_loaders(nowhere, tree_with(tmp_path), {}) == ()


# -- inspection -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place_", "bytes_", "said"),
    [
        (16, struct.pack(">Q", 1 << 40), "program table is said to be in sector"),
        (16, struct.pack(">Q", 3), "there is no program table in sector 3"),
        (MIB + 16, struct.pack(">Q", 0), "component table is said to be in sector 0"),
        (MIB + 512 + 32 + 23, b"\x09", "leads to a program that has no parts"),
        (MIB + 512 + 96 + 23, b"\x09", "does not say where the program begins"),
        (MIB + 512 + 32, struct.pack(">Q", 1 << 50), "a segment table is said to be in sector"),
        (MIB + 1024, struct.pack(">Q", 1 << 50), "the program is said to be in sector"),
        (MIB + 1024 + 31 * 16, struct.pack(">Q", 2050), "go in a circle"),
    ],
)
def test_a_damaged_disk_is_said_not_to_start(tmp_path: Path, place_: int, bytes_: bytes, said: str) -> None:
    disk = blank(tmp_path)
    embed(disk, tree_with(tmp_path), MIB, 7 * MIB)
    content = bytearray(disk.read_bytes())
    if "circle" in said:  # a table that is full and leads to itself
        content[MIB + 1024 : MIB + 1536] = struct.pack(">QHH4x", 2060, BLOCK, 0) * 32
    if "no parts" in said:
        content[MIB + 512 + 64 + 23] = 9
    content[place_ : place_ + len(bytes_)] = bytes_
    view = View(Memory(bytes(content)), 0, len(content))
    way = bootloaders.find(view, inspected_table.read(view), (), ()).ways["channel"]
    assert not way.possible
    assert said in way.why


@given(st.binary(max_size=600))
def test_any_tables_are_read(content: bytes) -> None:
    disk = tables.boot_record(1).ljust(BLOCK, b"\0") + b"zIPL" + content
    view = View(Memory(disk.ljust(4096, b"\0")), 0, 4096)
    assert bootloaders.find(view, inspected_table.read(view), (), ()).ways["channel"].why
