"""What zipl's tables, kernels and settings are."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockdev.bootloader.zipl import config, kernel, tables
from blockdev.bootloader.zipl.placement import lay_out, ramdisk_address
from blockdev.core.errors import BuildError
from tests.unit.blockdev.bootloader.zipl.zipl_cases import BLOCK, CONF, LINE, MIB, image

# -- tables ---------------------------------------------------------------------------------


@given(first=st.integers(1, 2**40), count=st.integers(1, 400_000), at=st.integers(1, 2**40))
def test_segment_tables_name_every_block_once_and_in_order(first: int, count: int, at: int) -> None:
    made = list(tables.segment_tables(tables.Component(first, count, 0), at))
    assert len(made) == tables.segment_blocks(count)
    expected = first
    for number, table in enumerate(made, 1):
        assert len(table) == BLOCK
        entries = [struct.unpack_from(">QHHI", table, lay_out) for lay_out in range(0, BLOCK, 16)]
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
    placed = lay_out(start, size, more)
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
