"""Whether a disk starts, how an inspection is drawn and written as JSON, and which files are no images."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from blockdev.core.errors import BuildError, UsageError
from blockdev.inspect import bootloaders, image, survey
from blockdev.inspect.bytes_view import view
from blockdev.inspect.json import to_data
from blockdev.inspect.model import Boot, Content, Inspection, Loader, Partition, Region, System
from builder.commands.disk import disk as command
from builder.disk_view import inspection as diskreport
from builder.disk_view.layout import bar
from tests.unit.disk_bytes import BIOS_BOOT, ESP, LINUX, PREP, disk, entry, gpt, gpt_entry, record

SECTORS = 8192
EXT4 = Content("ext4")
GRUB_CODE = b"\xeb\x63\x90".ljust(0x5C, b"\0") + struct.pack("<Q", 64) + b"GRUB \0Geom\0Hard Disk\0Read\0 Error\r\n"
FAT = b"\xeb\x3c\x90mkfs.fat" + struct.pack("<HBHBHHBH", 512, 1, 1, 1, 16, 1000, 0xF8, 4)
FAT = FAT.ljust(510, b"\0") + b"\x55\xaa"


def core(place: int, sectors: int) -> bytes:
    """The first sector of GRUB's core image at a sector, and the rest of it."""
    head = b"\x52\xe8 loading\0.\0\r\n\0Geom\0Read\0 Error\0".ljust(500, b"\0")
    return head + struct.pack("<QHH", place + 1, sectors - 1, 0x820) + b"\xff" * 512 * (sectors - 1)


def boot(content: bytes, *loaders: Loader) -> Boot:
    found, places = survey.survey(view(content))
    return bootloaders.find(view(content), found, places, loaders)


def with_code(content: bytes, code: bytes) -> bytes:
    return code + content[len(code) :]


# -- BIOS -----------------------------------------------------------------------------------

PARTED = gpt(SECTORS, gpt_entry(BIOS_BOOT, 64, 127), gpt_entry(ESP, 128, 2000, number=2))


def test_grub_in_a_bios_boot_partition() -> None:
    found = boot(disk(len(PARTED), (0, with_code(PARTED, GRUB_CODE)), (64 * 512, core(64, 50))))
    assert found.ways["bios"].possible
    assert found.ways["bios"].why.endswith("its core image at sector 64, in partition 1 (BIOS boot)")
    assert found.core is not None
    assert (found.core.start, found.core.length, found.core.partition) == (64 * 512, 50 * 512, 1)
    assert found.remarks == ()


def test_grub_that_leads_elsewhere() -> None:
    content = disk(len(PARTED), (0, with_code(PARTED, GRUB_CODE)), (70 * 512, core(70, 20)))
    found = boot(content)
    # A BIOS boot partition is looked at from its begin, and there is nothing.
    assert not found.ways["bios"].possible
    content = disk(len(PARTED), (0, with_code(PARTED, GRUB_CODE)), (50 * 512, core(50, 8)))
    found = boot(content)
    assert not found.ways["bios"].possible
    assert found.remarks == ("GRUB's boot code leads to sector 64; its core image is at 50",)


def test_core_image_that_is_longer_than_its_partition() -> None:
    found = boot(disk(len(PARTED), (0, with_code(PARTED, GRUB_CODE)), (64 * 512, core(64, 90))))
    assert not found.ways["bios"].possible
    assert found.remarks == ("GRUB's core image is longer than partition 1, in which it begins",)


def test_core_image_in_the_gap_of_an_mbr() -> None:
    content = disk(SECTORS * 512, (0, record(entry(0x83, 100, 500), code=GRUB_CODE)), (64 * 512, core(64, 30)))
    found = boot(content)
    assert found.ways["bios"].possible
    assert "in the gap before the first partition" in found.ways["bios"].why
    found = boot(disk(len(content), (0, content), (64 * 512, core(64, 60))))
    assert not found.ways["bios"].possible
    assert found.remarks == ("GRUB's core image reaches into partition 1",)


def test_core_image_without_boot_code() -> None:
    found = boot(disk(len(PARTED), (0, PARTED), (64 * 512, core(64, 50))))
    assert found.ways["bios"].why == "there is no code in the boot sector"
    assert "nothing in the boot sector leads to it" in found.remarks[0]


@pytest.mark.parametrize(
    ("active", "sector", "why"),
    [
        (0, b"", "none is marked so"),
        (0x80, b"", "partition 1, which has no boot code"),
        (0x80, bytes(510) + b"\x55\xaa", "partition 1, which has no boot code"),
        (0x80, b"SYSLINUX".ljust(510, b"\0") + b"\x55\xaa", "SYSLINUX's boot code starts partition 1"),
    ],
)
def test_syslinux(active: int, sector: bytes, why: str) -> None:
    mbr = record(entry(0x83, 100, 500, active), code=b"\x33\xc0 Missing operating system.\r\n")
    found = boot(disk(SECTORS * 512, (0, mbr), (100 * 512, sector)))
    assert found.code.kind == "syslinux"
    assert why in found.ways["bios"].why
    assert found.ways["bios"].possible == any(sector[:510])


@pytest.mark.parametrize(
    ("code", "possible"), [(b"", False), (b"This is not a bootable disk.", False), (b"\xfa\xfc", True)]
)
def test_code_of_a_fat_on_a_whole_disk(code: bytes, possible: bool) -> None:
    assert boot(disk(SECTORS * 512, (0, FAT), (90, code))).ways["bios"].possible == possible


@given(st.binary(max_size=512), st.integers(0, 1 << 64))
def test_any_boot_code(code: bytes, place: int) -> None:
    led = GRUB_CODE[:0x5C] + struct.pack("<Q", place & (1 << 64) - 1) + GRUB_CODE[0x64:]
    for one in (code, led):
        assert boot(disk(SECTORS * 512, (0, one), (510, b"\x55\xaa"))).ways["bios"].why


# -- UEFI and Open Firmware -----------------------------------------------------------------


def loader(path: str, machine: str = "x64", kind: str = "grub") -> Loader:
    return Loader(2, path, kind, machine, signed=True, details={"version": "2.06"})


@pytest.mark.parametrize(
    ("loaders", "possible", "why"),
    [
        ((loader("EFI/BOOT/BOOTX64.EFI"),), True, "x64: grub 2.06 (signed), EFI/BOOT/BOOTX64.EFI"),
        ((loader("efi/boot/bootaa64.efi", "aa64"),), True, "aa64: grub 2.06 (signed), efi/boot/bootaa64.efi"),
        ((loader("EFI/BOOT/BOOTX64.EFI", "aa64"),), False, "no EFI program for the machine it is named after"),
        ((loader("EFI/BOOT/BOOTX64.EFI", "", "no EFI program"),), False, "no EFI program for the machine"),
        ((loader("EFI/debian/grubx64.efi"),), False, "firmware starts EFI/debian/grubx64.efi only by an entry"),
        ((), False, "the EFI system partition has no EFI/BOOT/BOOT*.EFI"),
    ],
)
def test_uefi(loaders: tuple[Loader, ...], possible: bool, why: str) -> None:
    content = disk(len(PARTED), (0, PARTED), (128 * 512, FAT))
    found = boot(content, *loaders).ways["uefi"]
    assert found.possible == possible
    assert why in found.why


def test_uefi_without_a_file_system() -> None:
    assert boot(PARTED).ways["uefi"].why == "the EFI system partition holds no FAT file system (blank)"
    assert boot(bytes(SECTORS * 512)).ways["uefi"].why == "there is no EFI system partition"


def test_open_firmware() -> None:
    content = gpt(SECTORS, gpt_entry(PREP, 64, 127))
    assert not boot(content).ways["openfirmware"].possible
    assert boot(disk(len(content), (0, content), (64 * 512, b"\x7fELF"))).ways["openfirmware"].possible


# -- sector sizes ---------------------------------------------------------------------------


def test_mbr_of_large_sectors_is_found_out_by_what_it_holds() -> None:
    content = disk(1 << 21, (0, record(entry(0x83, 64, 100))), (64 * 4096, b"XFSB"))
    found, places = survey.survey(view(content))
    assert (found.sector_size, places[0].content.kind) == (4096, "xfs")
    found, places = survey.survey(view(content), 512)
    assert (found.sector_size, places[0].content.kind) == (512, "blank")


def test_file_system_on_a_whole_disk() -> None:
    content = disk(SECTORS * 512, (0, record(code=GRUB_CODE)), (1080, b"\x53\xef"), (1028, b"\x00\x10"))
    found, places = survey.survey(view(content))
    assert (found.partitions, [place.content.kind for place in places]) == ((), ["ext2"])


# -- drawing and JSON -----------------------------------------------------------------------


def inspection(*places: Region, size: int = 1 << 30) -> Inspection:
    found, _ = survey.survey(view(PARTED))
    return Inspection("disk.raw", "raw", size, 4096, found, places, boot(PARTED))


def place(number: int, start: int, length: int, content: Content = EXT4) -> Region:
    return Region(Partition(number, "", LINUX, "Linux", "", start, length), start, length, content)


@given(
    st.lists(st.tuples(st.integers(0, 1 << 34), st.integers(0, 1 << 65)), max_size=40),
    st.integers(1, 1 << 33),
    st.integers(20, 200),
)
def test_bar_is_never_wider_than_asked(spans: list[tuple[int, int]], size: int, width: int) -> None:
    places = [place(number, start, length) for number, (start, length) in enumerate(spans, 1)]
    cells = diskreport.cells(places, size)
    assert sum(length for _, length in cells) <= size
    lines = bar(diskreport.fitting(cells, width), size, width).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len(lines[0]) <= width


def test_bar_shows_free_space() -> None:
    cells = diskreport.cells([place(1, 1 << 20, 99 << 20), place(2, 200 << 20, 100 << 20)], 500 << 20)
    mib = 1 << 20
    assert cells == [("1 ext4", 99 * mib), ("", 100 * mib), ("2 ext4", 100 * mib), ("", 200 * mib)]


def test_nothing_for_a_terminal_to_obey() -> None:
    found = inspection(place(1, 1 << 20, 1 << 20, Content("ext4", label="a\x1b[31m", uuid="\x07")))
    system = System("partition 1", "Evil\x1b]0;x", "a\tb\x1b\n\x9b1")
    drawn = diskreport.draw(Inspection(**{**found.__dict__, "system": system}))
    assert all(one == "\n" or one.isprintable() for one in drawn)
    assert "  a       b\N{REPLACEMENT CHARACTER}\n" in drawn


def test_json() -> None:
    found = inspection(place(1, 1 << 20, 1 << 20, Content("ext4", label="\x1b")))
    data = json.loads(json.dumps(to_data(found)))
    assert list(data) == ["version", "image", "table", "content", "boot", "system", "remarks"]
    assert [one["type_name"] for one in data["table"]["partitions"]] == ["BIOS boot", "EFI system"]
    assert data["boot"]["bios"] == {"possible": False, "why": "there is no code in the boot sector"}


# -- files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "name"),
    [
        (b"QFI\xfb", b"", "qcow2"),
        (b"KDMV", b"", "vmdk"),
        (b"vhdxfile", b"", "vhdx"),
        (b"conectix", b"", "vpc"),
        (b"", b"conectix", "vpc"),
        (bytes(64) + b"\x7f\x10\xda\xbe", b"", "vdi"),
        (b"\x28\xb5\x2f\xfd", b"", "zstd"),
        (b"\x1f\x8b\x08", b"", "gzip"),
        (b"\xfd7zXZ\0", b"", "xz"),
        (b"anything", b"else", "raw"),
    ],
)
def test_formats(start: bytes, end: bytes, name: str) -> None:
    assert image.magic(start, end) == name


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no image"),
        (b"", "the image is empty"),
        (b"short", "this is no disk image: it has 5 bytes"),
        (bytes(257) + b"ustar" + bytes(9000), "this is an archive"),
    ],
)
def test_files_that_are_no_images(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "image"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=said) as error:
        survey.inspect(path)
    assert error.value.exit_status == 2


def test_folders_are_no_images(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a folder"):
        survey.inspect(tmp_path)


def test_damaged_packed_image(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"\x1f\x8b\x08" + bytes(600))
    with pytest.raises(BuildError, match="damaged") as error:
        survey.inspect(path)
    assert error.value.exit_status == 1


def test_image_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(PARTED)
    os.utime(path, (1000, 1000))
    before = path.stat()
    assert survey.inspect(path).format == "raw"
    after = path.stat()
    assert after.st_mtime_ns == before.st_mtime_ns
    assert path.read_bytes() == PARTED


def test_command(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(PARTED)
    said = CliRunner().invoke(command, ["inspect", str(path)])
    assert said.exit_code == 0
    assert "boots by BIOS: no, there is no code in the boot sector" in said.output
    as_json = CliRunner().invoke(command, ["inspect", "--json", str(path)])
    assert json.loads(as_json.output)["image"]["size"] == len(PARTED)
