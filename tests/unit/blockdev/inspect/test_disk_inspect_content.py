"""What a region holds, by bytes made here; those that mkfs programs write are in the integration tests."""

from __future__ import annotations

import hashlib
import json
import struct
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockdev.inspect import luks, pe, signatures
from blockdev.inspect.bytes_view import Joined, View, text, view
from blockdev.inspect.model import Content
from tests.unit.disk_bytes import disk, program

ID = uuid.UUID("12345678-9abc-4def-8123-456789abcdef")
SIZE = 1 << 20


def ext(compatible: int = 0, incompatible: int = 2, read_only: int = 1, state: int = 1) -> bytes:
    """The superblock of an ext file system of 1 MiB."""
    raw = bytearray(1024)
    struct.pack_into("<II", raw, 0, 128, 1024)
    struct.pack_into("<I", raw, 12, 900)
    struct.pack_into("<HH", raw, 56, 0xEF53, state)
    struct.pack_into("<III", raw, 92, compatible, incompatible, read_only)
    raw[104:120] = ID.bytes
    raw[120:125] = b"a\xc3\xa4b\x1b"
    return disk(SIZE, (1024, bytes(raw)))


def identify(content: bytes) -> Content:
    return signatures.identify(view(content))


@pytest.mark.parametrize(
    ("features", "kind", "journal"),
    [
        ((0, 2, 3), "ext2", False),
        ((4, 2, 3), "ext3", True),
        ((4, 0x42, 3), "ext4", True),
        ((0, 0x42, 3), "ext4", False),
        ((4, 2, 0x403), "ext4", True),
    ],
)
def test_kinds_of_ext(features: tuple[int, int, int], kind: str, journal: bool) -> None:
    found = identify(ext(*features))
    assert (found.kind, found.uuid, found.label) == (kind, str(ID), "aäb\x1b")
    assert (found.size, found.free, found.clean, found.remarks) == (SIZE, 900 << 10, True, ())
    assert found.details["journal"] is journal


@pytest.mark.parametrize("unclean", [ext(state=0), ext(state=3), ext(4, 6)])
def test_ext_that_is_not_clean(unclean: bytes) -> None:
    found = identify(unclean)
    assert found.clean is False
    assert "is not clean" in found.remarks[0]


def test_large_ext() -> None:
    raw = bytearray(ext(incompatible=0x80))
    struct.pack_into("<I", raw, 1024 + 0x150, 1)
    found = identify(bytes(raw))
    assert found.size == (1024 + (1 << 32)) << 10
    assert "its end is missing" in found.remarks[0]


def test_features_without_a_name() -> None:
    assert "FEATURE_I31" in identify(ext(incompatible=1 << 31)).details["features"]


def test_old_marks_beside_the_new_ones() -> None:
    content = disk(SIZE, (0, ext()), (0, b"hsqs"))
    found = identify(content)
    assert found.kind == "squashfs"
    assert found.remarks == ("marks of ext2 are there as well",)


def test_blank_and_unknown() -> None:
    assert identify(bytes(5000)).kind == "blank"
    assert identify(b"").kind == "blank"
    found = identify(b"\x01\x02" + bytes(5000))
    assert (found.kind, found.details["first_bytes"][:8]) == ("unknown", "01 02 00")
    assert identify(bytes(3 << 20) + b"x").kind == "unknown"


def test_fat32_asks_its_root_folder_for_the_label() -> None:
    raw = bytearray(512)
    raw[:3], raw[510:] = b"\xeb\x58\x90", b"\x55\xaa"
    struct.pack_into("<HBHBHHB", raw, 11, 512, 1, 32, 2, 0, 0, 0xF8)
    struct.pack_into("<II", raw, 32, 70000 + 1200, 560)
    struct.pack_into("<I", raw, 44, 2)
    struct.pack_into("<HH", raw, 48, 1, 6)
    struct.pack_into("<BI11s", raw, 66, 0x29, 0xCAFE0001, b"OLD        ")
    info = struct.pack("<4s480x4sI", b"RRaA", b"rrAa", 77)
    folder = b"LONG NAME PART".ljust(11)[:11] + b"\x0f" + bytes(20) + b"NEW ONE    \x08" + bytes(20)
    size = (70000 + 1200) * 512
    fat = struct.pack("<II", 0x0FFFFFF8, 0x0FFFFFFF)
    content = disk(size, (0, bytes(raw)), (512, info), (32 * 512, fat), ((32 + 1120) * 512, folder))
    found = identify(content)
    assert (found.kind, found.label, found.uuid) == ("vfat", "NEW ONE", "CAFE-0001")
    assert (found.details["fat"], found.free, found.clean, found.size) == (32, 77 * 512, True, size)
    without = disk(size, (0, content), ((32 + 1120) * 512, bytes(64)), (32 * 512 + 7, b"\x07"))
    found = identify(without)
    assert (found.label, found.clean) == ("OLD", False)


@pytest.mark.parametrize(
    ("mark", "kind"),
    [(b"NTFS    ", "ntfs"), (b"-FVE-FS-", "bitlocker"), (b"EXFAT   ", "exfat")],
)
def test_by_name_only(mark: bytes, kind: str) -> None:
    assert identify(disk(SIZE, (0, b"\xeb\x58\x90" + mark), (510, b"\x55\xaa"))).kind == kind


def luks2(place: int, first: bool = True, document: object = None) -> bytes:
    """A LUKS2 header of 16 KiB."""
    about = {
        "segments": {"0": {"type": "crypt", "offset": "32768", "encryption": "aes-xts-plain64", "sector_size": 512}},
        "keyslots": {"0": {"kdf": {"type": "argon2id"}}, "1": {"kdf": {"type": "pbkdf2"}}},
    }
    raw = bytearray(16384)
    mark = b"LUKS\xba\xbe" if first else b"SKUL\xba\xbe"
    struct.pack_into(">6sHQQ48s32s", raw, 0, mark, 2, 16384, 1, b"secret", b"sha256")
    raw[168:204] = str(ID).encode()
    written = json.dumps(about if document is None else document).encode()
    raw[4096 : 4096 + len(written)] = written
    raw[448:480] = hashlib.sha256(raw).digest()
    return disk(1 << 16, (place, bytes(raw)))


def test_luks2() -> None:
    found = identify(luks2(0))
    assert (found.kind, found.label, found.uuid, found.remarks) == ("luks", "secret", str(ID), ())
    assert dict(found.details) == {
        "version": 2,
        "subsystem": "",
        "cipher": "aes-xts-plain64",
        "sector_size": 512,
        "payload_offset": 32768,
        "key_slots": 2,
        "key_derivation": ["argon2id", "pbkdf2"],
        "checksum_right": True,
    }


def test_damaged_luks2() -> None:
    damaged = bytearray(luks2(0))
    damaged[4100] ^= 1
    found = identify(bytes(damaged))
    assert found.remarks == ("the LUKS2 header is damaged: its checksum is wrong",)
    damaged[16384:32768] = luks2(16384, first=False)[16384:32768]
    found = identify(bytes(damaged))
    assert found.details["cipher"] == "aes-xts-plain64"
    assert found.remarks == ("the first LUKS2 header is damaged: the second one was read",)
    assert identify(luks2(16384, first=False)).kind == "luks"


@pytest.mark.parametrize("document", [[], {}, {"segments": {}}, {"segments": {"0": 1}}, {"segments": 7}, "x"])
def test_luks2_with_another_document(document: object) -> None:
    found = luks.read(view(luks2(0, document=document)))
    assert found is not None
    assert "cipher" not in found.details


def test_label_of_a_physical_volume() -> None:
    label = struct.pack("<8sQII8s", b"LABELONE", 1, 0, 32, b"LVM2 001")
    content = disk(SIZE, (512, label + b"abcdefghijklmnopqrstuvwxyz012345" + struct.pack("<Q", SIZE)))
    found = identify(content)
    assert (found.kind, found.uuid, found.size) == ("lvm", "abcdef-ghij-klmn-opqr-stuv-wxyz-012345", SIZE)


# -- any bytes ------------------------------------------------------------------------------

MARKS = (
    (0, b"XFSB"),
    (0, b"hsqs"),
    (0, b"LUKS\xba\xbe\x00\x01"),
    (0, b"LUKS\xba\xbe\x00\x02"),
    (0, b"verity\0\0"),
    (0, b"\xeb\x58\x90"),
    (0, b"\x7fELF"),
    (0, b"\xfc\x4e\x2b\xa9\x01\0\0\0"),
    (512, b"LABELONE"),
    (536, b"LVM2 001"),
    (510, b"\x55\xaa"),
    (1024, b"\xe2\xe1\xf5\xe0"),
    (1080, b"\x53\xef"),
    (4086, b"SWAPSPACE2"),
    (0x10040, b"_BHRfS_M"),
    (32768, b"\x01CD001\x01"),
    (200, b"loading Geom Read"),
)


@given(
    st.binary(max_size=600),
    st.lists(st.sampled_from(MARKS), max_size=4),
    st.lists(st.tuples(st.integers(0, 5000), st.binary(max_size=12)), max_size=6),
    st.integers(0, 1 << 17),
)
def test_any_bytes(start: bytes, marks: list[tuple[int, bytes]], pieces: list[tuple[int, bytes]], length: int) -> None:
    content = disk(1 << 17, (0, start), *pieces, *marks)[:length]
    found = identify(content)
    assert found.kind
    json.dumps(dict(found.details))
    if found.kind == "blank":
        assert not any(content)


@given(st.binary(max_size=300), st.integers(0, 65535), st.booleans())
def test_any_bytes_as_a_program(content: bytes, machine: int, signed: bool) -> None:
    for one in (content, b"MZ" + content, program(machine, {".sbat": content[:99]}, signed=signed) + content):
        found = pe.parse(view(one))
        if found is not None:
            assert pe.nature(found, view(one)).kind
            assert one[:2] == b"MZ"


# -- EFI programs ---------------------------------------------------------------------------

SBAT = b"sbat,1,SBAT Version,sbat,1,https://example.org\n"


@pytest.mark.parametrize(
    ("sections", "kind", "details"),
    [
        ({".text": b"x"}, "unknown", {}),
        ({"mods": b"x"}, "grub", {}),
        (
            {".sbat": SBAT + b"grub,3,Free Software Foundation,grub,2.06,u\ngrub.debian,4,Debian,grub2,2.06-13,u\n"},
            "grub",
            {"version": "2.06-13", "sbat": "grub 2.06, grub.debian 2.06-13"},
        ),
        (
            {".vendor_": b"x", ".sbat": SBAT + b"shim,3,UEFI shim,shim,1,u\n"},
            "shim",
            {"version": "1", "sbat": "shim 1"},
        ),
        ({".sbat": SBAT + b"shim,3,UEFI shim,shim,1,u\n"}, "shim tool", {"version": "1", "sbat": "shim 1"}),
        ({".sdmagic": b"#### LoaderInfo: systemd-boot 252.1 ####\0"}, "systemd-boot", {"version": "252.1"}),
        (
            {
                ".sdmagic": b"#### LoaderInfo: systemd-stub 252.1 ####\0",
                ".linux": b"MZ",
                ".cmdline": b"root=LABEL=r quiet\n\0",
                ".uname": b"6.1.0\0",
                ".osrel": b'NAME=x\nPRETTY_NAME="A \\"B\\" 12"\n',
            },
            "uki",
            {"command_line": "root=LABEL=r quiet", "kernel": "6.1.0", "system": 'A "B" 12'},
        ),
    ],
)
def test_natures_of_programs(sections: dict[str, bytes], kind: str, details: dict[str, str]) -> None:
    content = view(program(0x8664, sections))
    found = pe.parse(content)
    assert found is not None
    nature = pe.nature(found, content)
    assert (nature.kind, dict(nature.details)) == (kind, details)


@pytest.mark.parametrize(
    ("number", "machine"),
    [(0x8664, "x64"), (0x14C, "ia32"), (0xAA64, "aa64"), (0x5064, "riscv64"), (0x1234, "machine 0x1234")],
)
@pytest.mark.parametrize("signed", [True, False])
def test_machines_and_signatures(number: int, machine: str, signed: bool) -> None:
    found = pe.parse(view(program(number, {".text": b"x"}, signed=signed)))
    assert found is not None
    assert (found.machine, found.signed) == (machine, signed)


def test_linux_that_is_its_own_loader() -> None:
    content = bytearray(program(0x8664, {".text": bytes(1024)}))
    content[0x202:0x206] = b"HdrS"
    found = pe.parse(view(bytes(content)))
    assert found is not None
    assert pe.nature(found, view(bytes(content))).kind == "linux"


# -- views ----------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=9), max_size=5), st.integers(0, 40), st.integers(0, 40), st.integers(0, 20))
def test_views_of_views(parts: list[bytes], offset: int, length: int, at: int) -> None:
    whole = b"".join(parts)
    joined = View(Joined([view(one) for one in parts]), 0, len(whole))
    assert joined.read(offset, length) == whole[offset : offset + length].ljust(length, b"\0")
    part = joined.part(offset, length)
    assert part.read(at, 5) == whole[offset : offset + length][at : at + 5].ljust(5, b"\0")
    assert part.blank() == (not any(whole[offset : offset + length]))


def test_text_of_fields() -> None:
    assert text(b"abc  \0rest") == "abc"
    assert text(b"\xff\xfe") == "\N{REPLACEMENT CHARACTER}" * 2
