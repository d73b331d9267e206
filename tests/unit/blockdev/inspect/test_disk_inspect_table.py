"""Partition tables from bytes: what is read, what is odd, what is damaged."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from blockdev.core.errors import BuildError
from blockdev.inspect import table, typenames
from blockdev.inspect.bytes_view import view
from blockdev.inspect.model import Partition
from tests.unit.disk_bytes import BIOS_BOOT, DISK, ESP, LINUX, disk, entry, gpt, gpt_entry, record

SECTORS = 4096


def remarks(content: bytes) -> str:
    return "\n".join(table.read(view(content)).remarks)


# -- MBR ------------------------------------------------------------------------------------


def test_mbr_with_logical_partitions() -> None:
    content = disk(
        SECTORS * 512,
        (0, record(entry(0x83, 64, 100, 0x80), entry(0x05, 256, 2048), entry(0xEF, 2304, 512))),
        (256 * 512, record(entry(0x83, 8, 92), entry(0x05, 100, 300))),
        (356 * 512, record(entry(0x82, 4, 200))),
    )
    found = table.read(view(content))
    assert (found.kind, found.id, found.sector_size, found.remarks) == ("mbr", "12345678", 512, ())
    assert [(one.number, one.kind, one.start // 512, one.length // 512, one.type) for one in found.partitions] == [
        (1, "primary", 64, 100, "83"),
        (2, "extended", 256, 2048, "05"),
        (3, "primary", 2304, 512, "ef"),
        (5, "logical", 264, 92, "83"),
        (6, "logical", 360, 200, "82"),
    ]
    assert [one.number for one in found.partitions if one.bootable] == [1]
    assert found.partitions[3].uuid == "12345678-05"
    assert found.partitions[4].type_name == "Linux swap"


def test_chain_of_logical_partitions_that_comes_back() -> None:
    content = disk(
        SECTORS * 512,
        (0, record(entry(0x0F, 100, 1000))),
        (100 * 512, record(entry(0x83, 8, 42), entry(0x05, 50, 300))),
        (150 * 512, record(entry(0x83, 8, 42), entry(0x05, 0, 300))),
    )
    found = table.read(view(content))
    assert [one.number for one in found.partitions] == [1, 5, 6]
    assert found.remarks == ("the chain of logical partitions comes back to sector 100: it was cut there",)


def test_chain_of_logical_partitions_that_breaks() -> None:
    content = disk(
        SECTORS * 512,
        (0, record(entry(0x0F, 100, 1000))),
        (100 * 512, record(entry(0x83, 8, 42), entry(0x05, 2000, 300))),
    )
    assert "leads to sector 2100, outside of the extended one" in remarks(content)
    assert "no extended boot record at sector 2100" in remarks(content)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ((entry(0x83, 64, 100), entry(0x83, 150, 100)), "partitions 1 and 2 overlap"),
        ((entry(0x83, 64, 1000), entry(0x83, 70, 10), entry(0x83, 500, 10)), "partitions 1 and 3 overlap"),
        ((entry(0x83, 64, 5000),), "partition 1 ends 495616 bytes after the end of the disk"),
        ((entry(0x83, 500, 100), entry(0x83, 64, 100)), "not in the order of their places"),
        ((entry(0x83, 64, 10, 0x80), entry(0x83, 90, 10, 0x80)), "more than one partition is marked as active"),
        ((entry(0x05, 64, 100), entry(0x83, 100, 10)), "partitions 2 and 1 overlap"),
    ],
)
def test_oddities_of_an_mbr(entries: tuple[bytes, ...], said: str) -> None:
    assert said in remarks(disk(SECTORS * 512, (0, record(*entries))))


def test_logical_partition_outside_of_its_extended_one() -> None:
    content = disk(SECTORS * 512, (0, record(entry(0x05, 100, 50))), (100 * 512, record(entry(0x83, 8, 500))))
    assert "logical partition 5 is not within the extended partition" in remarks(content)


def test_boot_sector_of_a_fat_is_no_table() -> None:
    start = b"\xeb\x3c\x90mkfs.fat" + struct.pack("<HBHBHHB", 512, 4, 1, 2, 512, 2880, 0xF8)
    assert table.read(view(disk(1 << 20, (0, record(code=start))))).kind == "none"
    # What is code in the place of entries leads nowhere on the disk.
    assert table.read(view(disk(1 << 20, (0, record(entry(0x61, 1 << 30, 99), code=start))))).kind == "none"


def test_nothing() -> None:
    found = table.read(view(bytes(1 << 20)))
    assert (found.kind, found.partitions, found.remarks) == ("none", (), ())


# -- GPT ------------------------------------------------------------------------------------

BOTH = (
    gpt_entry(BIOS_BOOT, 64, 127, "bios", number=1),
    gpt_entry(LINUX, 128, 3000, "root", 1 << 2 | 1 << 60 | 1 << 48, number=2),
)


@pytest.mark.parametrize("sector", [512, 4096])
def test_gpt(sector: int) -> None:
    found = table.read(view(gpt(SECTORS, *BOTH, sector=sector)))
    assert (found.kind, found.id, found.sector_size, found.remarks) == ("gpt", DISK, sector, ())
    root = found.partitions[1]
    assert root == Partition(
        number=2,
        name="root",
        type=LINUX,
        type_name="Linux",
        uuid="00000000-0000-0000-0000-000000000002",
        start=128 * sector,
        length=2873 * sector,
        bootable=True,
        attributes=("legacy-bios-bootable", "bit 48", "read-only"),
    )
    assert root.end == 3001 * sector


def test_the_sector_size_can_be_said() -> None:
    content = gpt(SECTORS, *BOTH, sector=4096)
    assert table.read(view(content), 4096).kind == "gpt"
    with pytest.raises(BuildError, match="primary GPT header is not there"):
        table.read(view(content), 512)


def test_entry_that_is_not_used_keeps_its_number() -> None:
    found = table.read(view(gpt(SECTORS, bytes(128), BOTH[0])))
    assert [one.number for one in found.partitions] == [2]


@pytest.mark.parametrize("place", [0x200, 0x210, 0x218, 0x238, 0x200 + 80])
def test_damaged_primary_header(place: int) -> None:
    content = bytearray(gpt(SECTORS, *BOTH))
    content[place] ^= 0xFF
    found = table.read(view(bytes(content)))
    assert [one.name for one in found.partitions] == ["bios", "root"]
    said = "\n".join(found.remarks)
    assert "the primary GPT header" in said
    assert "the backup GPT was read instead of the primary one" in said


def test_damaged_array() -> None:
    content = bytearray(gpt(SECTORS, *BOTH))
    content[1024 + 60] ^= 0xFF
    found = table.read(view(bytes(content)))
    assert [one.name for one in found.partitions] == ["bios", "root"]
    assert "the array of the primary GPT is damaged" in "\n".join(found.remarks)


def test_damaged_backup() -> None:
    content = bytearray(gpt(SECTORS, *BOTH))
    content[-512 + 20] ^= 0xFF
    said = remarks(bytes(content))
    assert "backup GPT header is damaged: its checksum is wrong" in said
    assert "instead" not in said


def test_both_headers_damaged() -> None:
    content = bytearray(gpt(SECTORS, *BOTH))
    content[512 + 30] ^= 0xFF
    content[-512 + 30] ^= 0xFF
    with pytest.raises(BuildError, match=r"the GPT is damaged: .*primary.*; .*backup") as error:
        table.read(view(bytes(content)))
    assert error.value.exit_status == 1


def test_disk_that_has_grown() -> None:
    content = gpt(SECTORS, *BOTH) + bytes(1 << 20)
    found = table.read(view(content))
    assert len(found.partitions) == 2
    (said,) = found.remarks
    assert said.startswith("the backup GPT is not at the end of the disk (sector 4095, the last one is 6143)")


def test_disk_that_was_cut() -> None:
    assert "the backup GPT header is not there" in remarks(gpt(SECTORS, *BOTH)[: 3500 * 512])


def test_halves_that_differ() -> None:
    content = bytearray(gpt(SECTORS, *BOTH))
    other = gpt(SECTORS, BOTH[0])
    content[-33 * 512 :] = other[-33 * 512 :]
    assert "the backup GPT differs from the primary one" in remarks(bytes(content))


def test_gpt_without_protection() -> None:
    found = table.read(view(gpt(SECTORS, *BOTH, protective=bytes(512))))
    assert found.kind == "gpt"
    assert "no protective MBR" in "\n".join(found.remarks)


def test_hybrid() -> None:
    mbr = record(entry(0xEE, 1, 63), entry(0x83, 128, 2873))
    found = table.read(view(gpt(SECTORS, *BOTH, protective=mbr)))
    assert found.kind == "gpt"
    assert "hybrid" in "\n".join(found.remarks)


def test_mbr_over_an_old_gpt() -> None:
    found = table.read(view(gpt(SECTORS, *BOTH, protective=record(entry(0x83, 128, 2873)))))
    assert found.kind == "mbr"
    assert "there is a GPT as well" in "\n".join(found.remarks)


def test_partition_outside_of_the_usable_sectors() -> None:
    said = remarks(gpt(SECTORS, gpt_entry(ESP, 20, 60), gpt_entry(LINUX, 100, 99 - 10, number=2)))
    assert "partition 1 is not within the usable sectors" in said
    assert "partition 2 ends before it begins" in said


def test_names_of_types() -> None:
    assert typenames.gpt(ESP.lower()) == "EFI system"
    assert typenames.mbr(0xEF) == "EFI system"
    assert (typenames.gpt(DISK), typenames.mbr(0x99)) == ("", "")


# -- any bytes ------------------------------------------------------------------------------

PLAIN = gpt(SECTORS, *BOTH)
CHAINED = disk(
    SECTORS * 512,
    (0, record(entry(0x83, 64, 100), entry(0x05, 256, 2048))),
    (256 * 512, record(entry(0x83, 8, 92), entry(0x05, 100, 300))),
    (356 * 512, record(entry(0x82, 4, 200))),
)


@given(st.binary(max_size=4096))
@example(b"")
@example(record(entry(0xEE, 1, 1)))
def test_any_bytes(content: bytes) -> None:
    _survives(content)
    _survives(content.ljust(510, b"\0")[:510] + b"\x55\xaa" + content)


@given(
    st.sampled_from([PLAIN, CHAINED]),
    st.lists(
        st.tuples(
            st.integers(0, 1200) | st.integers(256 * 512, 257 * 512) | st.integers(-512, -1), st.binary(max_size=9)
        ),
        max_size=8,
    ),
)
def test_damage_anywhere(content: bytes, damages: list[tuple[int, bytes]]) -> None:
    damaged = bytearray(content)
    for place, replacement in damages:
        place %= len(damaged)
        damaged[place : place + len(replacement)] = replacement
    _survives(bytes(damaged))


def _survives(content: bytes) -> None:
    """Nothing but a BuildError comes of it, and what is told is consistent."""
    try:
        found = table.read(view(content))
    except BuildError as error:
        assert "GPT is damaged" in error.what
        return
    numbers = [one.number for one in found.partitions]
    assert len(numbers) == len(set(numbers))
    assert found.kind in ("gpt", "mbr", "none")
    for one in found.partitions:
        outside = one.end > len(content) or not one.length
        assert not outside or any(f"partition {one.number} " in said for said in found.remarks)


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(1, 99)), max_size=6))
def test_overlaps_are_told_of(spans: list[tuple[int, int]]) -> None:
    partitions = [
        Partition(number, "", LINUX, "Linux", "", start, length) for number, (start, length) in enumerate(spans, 1)
    ]
    overlap = any(
        one.start < other.end and other.start < one.end
        for at, one in enumerate(partitions)
        for other in partitions[at + 1 :]
    )
    assert any("overlap" in said for said in table.oddities(partitions, 1000)) == overlap
