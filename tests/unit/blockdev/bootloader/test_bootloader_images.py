"""The place of a boot loader on a disk, and what a tree brings of one."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockdev.bootloader.grub import LoaderFiles, embed_bios, embed_prep, find, patched
from blockdev.core.errors import BuildError

SECTOR = 512
MIB = 1 << 20
BOOT = bytes(range(256)) + bytes(254) + b"\x55\xaa"


def core(sectors: int, more: int = 0) -> bytes:
    """Something as long as a core image; every sector differs."""
    return b"".join(struct.pack("<I", number) * (SECTOR // 4) for number in range(sectors)) + b"e" * more


@given(first=st.integers(1, 2**40), sectors=st.integers(2, 400), more=st.integers(0, SECTOR))
def test_patched_images_name_each_other(first: int, sectors: int, more: int) -> None:
    image = core(sectors, more)
    code, linked = patched(BOOT, image, first)
    assert len(code) == 440
    assert struct.unpack_from("<Q", code, 0x5C) == (first,)
    assert code[0x66:0x68] == b"\x90\x90"
    assert code[:0x5C] + code[0x64:0x66] + code[0x68:] == BOOT[:0x5C] + BOOT[0x64:0x66] + BOOT[0x68:440]
    assert len(linked) == -(-len(image) // SECTOR) * SECTOR
    start, count, segment = struct.unpack_from("<QHH", linked, 500)
    assert (start, segment) == (first + 1, 0x820)
    assert (count + 1) * SECTOR == len(linked), "all that follows is read"
    assert linked[:500] == image[:500]
    assert linked[SECTOR : len(image)] == image[SECTOR:]
    assert not any(linked[len(image) :])


@pytest.mark.parametrize(("boot", "image"), [(BOOT[:-2], core(3)), (bytes(SECTOR), core(3)), (BOOT, b""), (BOOT, b"x")])
def test_other_files_are_refused(boot: bytes, image: bytes) -> None:
    with pytest.raises(BuildError, match="is not GRUB's"):
        patched(boot, image, 1)


def disk(path: Path, table: bytes = b"\xdd" * 70) -> Path:
    """A disk of 3 MiB, full of ones, with something like a partition table."""
    path.write_bytes((b"\x11" * 440 + table + b"\x55\xaa").ljust(SECTOR, b"\x11") + b"\x11" * (3 * MIB - SECTOR))
    return path


@pytest.mark.parametrize(("start", "room"), [(MIB, MIB), (SECTOR, MIB - SECTOR), (SECTOR, 30 * SECTOR)])
def test_only_code_and_core_are_written(tmp_path: Path, start: int, room: int) -> None:
    image = disk(tmp_path / "disk")
    before = image.read_bytes()
    embed_bios(image, BOOT, core(30), start=start, room=room)
    after = image.read_bytes()
    code, linked = patched(BOOT, core(30), start // SECTOR)
    assert after[:440] == code
    assert after[440:SECTOR] == before[440:SECTOR], "disk id, partition table and mark stay"
    assert after[start : start + len(linked)] == linked
    assert after[SECTOR:start] == before[SECTOR:start]
    assert after[start + len(linked) :] == before[start + len(linked) :]


def test_a_disk_gets_the_mark_of_a_boot_sector(tmp_path: Path) -> None:
    image = tmp_path / "disk"
    image.write_bytes(bytes(MIB))
    embed_bios(image, BOOT, core(3), start=SECTOR, room=MIB - SECTOR)
    assert image.read_bytes()[510:512] == b"\x55\xaa"


def test_too_little_room_is_told_in_bytes_before_anything_is_written(tmp_path: Path) -> None:
    image = disk(tmp_path / "disk")
    before = image.read_bytes()
    with pytest.raises(BuildError, match=r"takes 15360 bytes, and there are 14848") as caught:
        embed_bios(image, BOOT, core(30), start=SECTOR, room=29 * SECTOR)
    assert "EF02" in str(caught.value.hint)
    with pytest.raises(BuildError, match="4096 bytes does not boot by BIOS"):
        embed_bios(image, BOOT, core(30), start=MIB, room=MIB, sector_size=4096)
    assert image.read_bytes() == before


def test_prep(tmp_path: Path) -> None:
    image = disk(tmp_path / "disk")
    elf = b"\x7fELF" + bytes(range(200))
    embed_prep(image, elf, MIB, MIB)
    assert image.read_bytes()[MIB : MIB + len(elf) + 1] == elf + b"\x11"
    with pytest.raises(BuildError, match="takes 204 bytes, and there are 203"):
        embed_prep(image, elf, MIB, 203)
    with pytest.raises(BuildError, match="no ELF program"):
        embed_prep(image, b"text", MIB, MIB)


def files(tree: Path, *names: str) -> None:
    """Files of these names, not empty."""
    for name in names:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)


def test_find(tmp_path: Path) -> None:
    assert find(tmp_path) == LoaderFiles()
    assert not find(tmp_path)
    files(tmp_path, "boot/grub2/i386-pc/core.img")
    assert not find(tmp_path), "one half of it does not boot"
    files(tmp_path, "boot/grub2/i386-pc/boot.img", "boot/grub/powerpc-ieee1275/core.elf")
    files(tmp_path, "boot/efi/EFI/BOOT/BOOTX64.EFI", "boot/efi/EFI/BOOT/grubx64.efi", "boot/efi/efi/debian/shimx64.efi")
    found = find(tmp_path)
    folder = tmp_path / "boot/grub2/i386-pc"
    assert found.bios == (folder / "boot.img", folder / "core.img")
    assert found.prep == tmp_path / "boot/grub/powerpc-ieee1275/core.elf"
    assert found.efi == ("boot/efi/EFI/BOOT/BOOTX64.EFI",)


def test_links_out_of_the_tree_are_not_followed(tmp_path: Path) -> None:
    outside, tree = tmp_path / "outside", tmp_path / "tree"
    files(outside, "i386-pc/boot.img", "i386-pc/core.img", "BOOT/BOOTX64.EFI")
    (tree / "boot/efi").mkdir(parents=True)
    (tree / "boot/grub").symlink_to(outside)
    (tree / "boot/efi/EFI").symlink_to(outside)
    assert not find(tree)
