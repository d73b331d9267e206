"""What an s390x disk starts: tables, kernel, settings and the bytes on a disk, read back by a reader of its own."""

from __future__ import annotations

import dataclasses
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockdev.bootloader.embed import check_zipl, embed_loaders, place_for_zipl
from blockdev.bootloader.zipl import config, kernel, tables
from blockdev.bootloader.zipl.placement import place, ramdisk_address
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

BLOCK = 512
MIB = 1 << 20
LINE = "root=LABEL=cloudimg-rootfs ro console=ttysclp0"
CONF = f"""
# a comment
[defaultboot]
default = linux

[linux]
target=/boot
image=/vmlinuz
ramdisk=/initrd.img
parameters="{LINE}"
"""


def image(length: int = 200_000, limit: int = 4096) -> bytes:
    """Something like a kernel: every four bytes differ, but for the marks and the parameter area."""
    made = bytearray(struct.pack(f">{length // 4}I", *range(length // 4)).ljust(length, b"\x77"))
    made[0x10008:0x10010] = b"S390EP\0\1"
    made[0x10400:0x10480] = bytes(0x80)
    made[0x10430:0x10438] = struct.pack(">Q", limit)
    return bytes(made)


def started(disk: bytes, program: int = 0) -> tuple[dict[int, bytes], int]:
    """What firmware has in memory, by address, and where it begins: the reader of this test, after the format alone."""

    def pointer(data: bytes, at: int) -> tuple[int, int]:
        block, size, more = struct.unpack_from(">QHH", data, at)
        assert size == BLOCK or not block
        return block, more + 1

    def block(number: int) -> bytes:
        assert 0 < number < len(disk) // BLOCK
        return disk[number * BLOCK : (number + 1) * BLOCK]

    assert disk[:8] == b"zIPL\0\0\0\1"
    programs = block(pointer(disk, 16)[0])
    components = block(pointer(programs, 16 + 16 * program)[0])
    assert programs[:4] == components[:4] == b"zIPL"
    assert components[4] == 0
    memory: dict[int, bytes] = {}
    for at in range(32, BLOCK, 32):
        kind, value = components[at + 23], int.from_bytes(components[at + 24 : at + 32], "big")
        if kind == 1:
            assert value >> 32 == 0x00080000, "a short PSW"
            assert value & 0x80000000, "addresses of 31 bits"
            return memory, value & 0x7FFFFFFF
        assert kind == 2
        table, content = pointer(components, at)[0], b""
        while table:
            entries = [pointer(block(table), place) for place in range(0, BLOCK, 16)]
            for first, count in entries[:-1]:
                if not first:
                    break
                content += disk[first * BLOCK : (first + count) * BLOCK]
            table = entries[-1][0]
        memory[value] = content
    raise AssertionError("nothing is started")


# -- tables ---------------------------------------------------------------------------------


@given(first=st.integers(1, 2**40), count=st.integers(1, 400_000), at=st.integers(1, 2**40))
def test_segment_tables_name_every_block_once_and_in_order(first: int, count: int, at: int) -> None:
    made = list(tables.segment_tables(tables.Component(first, count, 0), at))
    assert len(made) == tables.segment_blocks(count)
    expected = first
    for number, table in enumerate(made, 1):
        assert len(table) == BLOCK
        entries = [struct.unpack_from(">QHHI", table, place) for place in range(0, BLOCK, 16)]
        for block, size, more, reserved in entries[:-1]:
            if block:
                assert (block, size, reserved) == (expected, BLOCK, 0)
                expected += more + 1
        # Only the last place leads on, and there to one block: by that firmware tells it from the program.
        assert entries[-1] == ((at + number, BLOCK, 0, 0) if number < len(made) else (0, 0, 0, 0))
    assert expected == first + count


def test_tables_have_limits() -> None:
    assert len(tables.program_table(range(1, 31))) == BLOCK
    assert len(tables.component_table([(1, 0)] * 14, 0x10000)) == BLOCK
    for wrong in (range(0), range(1, 32)):
        with pytest.raises(ValueError, match="room for 30"):
            tables.program_table(wrong)
    for loads in ([], [(1, 0)] * 15):
        with pytest.raises(ValueError, match="room for 14"):
            tables.component_table(loads, 0x10000)
    with pytest.raises(ValueError, match="nothing to point at"):
        tables.boot_record(0)


@given(start=st.integers(1, 1 << 32), size=st.integers(1, 200 * MIB), more=st.integers(0, 1000 * MIB))
def test_nothing_lies_on_anything_else(start: int, size: int, more: int) -> None:
    placed = place(start, size, more)
    assert start + len(list(placed.tables())) <= placed.kernel.first
    assert placed.kernel.count * BLOCK - size in range(BLOCK)
    kernel_end = placed.kernel.address + placed.kernel.count * BLOCK
    if placed.ramdisk:
        assert placed.kernel.first + placed.kernel.count <= placed.ramdisk.first
        assert placed.ramdisk.count * BLOCK - more in range(BLOCK)
        assert kernel_end + MIB <= placed.ramdisk.address == ramdisk_address(size)
        assert placed.ramdisk.address % MIB == 0
    else:
        assert not more
    assert placed.takes == (placed.end - start) * BLOCK


# -- kernel ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "takes"), [(0, 895), (4096, 4095), (896, 895)])
def test_a_kernel_gets_its_parameters(limit: int, takes: int) -> None:
    content = image(limit=limit)
    found = kernel.read(content, "/vmlinuz")
    for line in ("", LINE, "x" * takes):
        loaded = found.prepared(line, (16 * MIB, 12345))
        assert len(loaded) == found.length == len(content) - 0x10000
        assert struct.unpack_from(">QQ", loaded, 0x408) == (16 * MIB, 12345)
        assert loaded[0x480 : 0x480 + takes + 1] == line.encode().ljust(takes + 1, b"\0")
        assert loaded[:0x408] + loaded[0x418:0x480] + loaded[0x480 + takes + 1 :] == (
            content[0x10000:0x10408] + content[0x10418:0x10480] + content[0x10480 + takes + 1 :]
        )
    with pytest.raises(BuildError, match=f"has {takes + 1} letters, and this kernel takes {takes}"):
        found.prepared("x" * (takes + 1), (0, 0))
    for odd in ("caf\xe9", "a\nb", "a\0b"):
        with pytest.raises(BuildError, match="not plain ASCII"):
            found.prepared(odd, (0, 0))


@pytest.mark.parametrize(
    "content", [b"", b"\x7fELF" * 50_000, image()[:0x10010], image()[:0x10800], image(limit=1 << 40)]
)
def test_what_is_no_kernel_is_refused(content: bytes) -> None:
    with pytest.raises(BuildError, match="no kernel image that an s390x disk starts from"):
        kernel.read(content, "/vmlinuz")


# -- settings -------------------------------------------------------------------------------


def test_settings_are_read() -> None:
    assert config.read(CONF, "conf") == config.Program("/vmlinuz", "/initrd.img", LINE)
    other = "[defaultboot]\ndefault=b\n[a]\nimage=/a\n:menu\n1=a\ntarget=/boot\n[b]\nimage = /b , 0x10000\n"
    assert config.read(other + "parameters='a=\"b c\"'\n", "conf") == config.Program("/b", "", 'a="b c"')


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it names no default"),
        ("[defaultboot]\ndefault=x\n", "no such section"),
        ("[defaultboot]\ndefault=x\n[x]\ntarget=/boot\n", r"\[x\] names no image"),
        ("[defaultboot]\ndefaultmenu=x\n", "defaultmenu is not understood"),
        ("[defaultboot]\ndefaultauto\n", "defaultauto is not understood"),
        ("[defaultboot]\ndefault=x\n[x]\nimage=/i\nparmfile=/p\n", "parmfile is not understood"),
        ("[defaultboot]\nwhat is this\n", "this is no setting: 'what is this'"),
    ],
)
def test_settings_that_name_no_program_are_refused(text: str, said: str) -> None:
    with pytest.raises(BuildError, match=said) as caught:
        config.read(text, "/etc/zipl.conf")
    assert caught.value.hint
    assert caught.value.where.startswith("/etc/zipl.conf")


# -- the disk -------------------------------------------------------------------------------


def tree_with(folder: Path, conf: str = CONF, ramdisk: int = 3 * MIB + 5) -> Path:
    """A tree whose links lead to its kernel and ram disk, absolute and relative."""
    tree = folder / "tree"
    for name in ("boot", "etc"):
        (tree / name).mkdir(parents=True)
    (tree / "boot/vmlinuz-6.1").write_bytes(image())
    (tree / "boot/initrd.img-6.1").write_bytes(bytes(range(1, 251)) * (ramdisk // 250) + b"e" * (ramdisk % 250))
    (tree / "vmlinuz").symlink_to("boot/vmlinuz-6.1")
    (tree / "initrd.img").symlink_to("/boot/initrd.img-6.1")
    (tree / "etc/zipl.conf").write_text(conf)
    return tree


def blank(folder: Path, length: int = 8 * MIB) -> Path:
    disk = folder / "disk"
    disk.write_bytes(bytes(440) + b"\x11" * 72 + bytes(length - BLOCK))
    return disk


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
    needs = place(1, len(image()) - 0x10000, 3 * MIB + 5).takes
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
