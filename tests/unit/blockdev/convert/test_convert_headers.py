"""The pure parts of conversion: headers in, headers out; checksums and their files."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockdev.convert import checksums
from blockdev.convert.normalize import vdi, vhd, vhdx, vmdk
from blockdev.core.crc32c import crc32c
from blockdev.core.derived_ids import content_id, format_id
from blockdev.core.errors import BuildError

UUIDS = st.binary(min_size=16, max_size=16).map(lambda raw: UUID(bytes=raw))
LINES = st.lists(st.text('abcdef ="#', max_size=20).map(str.encode), max_size=10)


def untouched(before: bytes, after: bytes, *places: tuple[int, int]) -> bool:
    """Are two blocks the same outside of places (first byte, one past the last)?"""
    inside = {number for first, end in places for number in range(first, end)}
    return len(before) == len(after) and all(
        a == b for number, (a, b) in enumerate(zip(before, after, strict=True)) if number not in inside
    )


def test_ids_follow_from_seed_and_purpose() -> None:
    """The same again, and different for another seed or purpose."""
    assert format_id("a", "vdi/image") == format_id("a", "vdi/image")
    assert len({format_id(seed, purpose) for seed in "ab" for purpose in ("vdi/image", "vhd")}) == 4
    assert format_id("a", "vhd").version == 5


@given(st.text())
def test_content_ids_never_mean_no_parent(seed: str) -> None:
    """A content id is 32 bits wide and none of the two reserved ones."""
    assert 0 <= content_id(seed) < 0xFFFFFFFE


@given(st.binary(min_size=504, max_size=504), UUIDS, st.integers(-(1 << 40), 1 << 40))
def test_vhd_footer(rest: bytes, uuid: UUID, epoch: int) -> None:
    """Only time, checksum and UUID change; all bytes but the checksum add up to its complement."""
    footer = b"conectix" + rest
    changed = vhd.pinned(footer, epoch, uuid)
    assert untouched(footer, changed, (24, 28), (64, 84))
    assert changed[68:84] == uuid.bytes
    total = sum(changed[:64]) + sum(changed[68:])
    assert struct.unpack_from(">I", changed, 64)[0] == 0xFFFFFFFF - total
    assert vhd.pinned(changed, epoch, uuid) == changed


@pytest.mark.parametrize(("epoch", "time"), [(946_684_800, 0), (946_684_861, 61), (0, 0), (1 << 40, 0xFFFFFFFF)])
def test_vhd_time(epoch: int, time: int) -> None:
    """VHD counts from 2000 and ends in 2136."""
    changed = vhd.pinned(b"conectix".ljust(512, b"\0"), epoch, UUID(int=0))
    assert struct.unpack_from(">I", changed, 24)[0] == time


@given(st.binary(min_size=64, max_size=64), st.binary(min_size=444, max_size=444), UUIDS, UUIDS)
def test_vdi_header(text: bytes, rest: bytes, image: UUID, modification: UUID) -> None:
    """Only the two UUIDs change."""
    header = text + struct.pack("<I", 0xBEDA107F) + rest
    changed = vdi.pinned(header, image, modification)
    assert untouched(header, changed, (0x188, 0x1A8))
    assert (UUID(bytes_le=changed[0x188:0x198]), UUID(bytes_le=changed[0x198:0x1A8])) == (image, modification)


@given(LINES, LINES, st.integers(0, 0xFFFFFFFD), st.integers(0, 0xFFFFFFFD), st.booleans())
def test_vmdk_descriptor(before: list[bytes], after: list[bytes], old: int, new: int, padded: bool) -> None:
    """The id's line changes and no other one, however many digits the old id had."""
    parent = b"parentCID=ffffffff"
    was = b"CID=%08x" % old if padded else b"CID=%x" % old
    descriptor = b"\n".join([*before, was, parent, *after, b"end"]).ljust(1024, b"\0")
    changed = vmdk.pinned(descriptor, new)
    assert len(changed) == len(descriptor)
    assert changed.rstrip(b"\0").split(b"\n") == [*before, b"CID=%08x" % new, parent, *after, b"end"]
    assert vmdk.pinned(changed, new) == changed


@given(st.integers(0, 0xFFFFFFFD), st.integers(0, 0xFFFFFFFD), st.integers(0, 0xFFFFFFFD))
def test_what_a_longer_descriptor_left_behind_a_shorter_one_goes(first: int, second: int, new: int) -> None:
    """qemu-img writes one with another content id over the first, and fills nothing up."""
    texts = [b"# Disk\nCID=%x\nparentCID=ffffffff\nend\n\0" % number for number in (first, second)]
    descriptor = (texts[1] + texts[0][len(texts[1]) :]).ljust(512, b"\0")
    expected = b"# Disk\nCID=%08x\nparentCID=ffffffff\nend\n" % new
    assert vmdk.pinned(descriptor, new) == expected.ljust(512, b"\0")


def header(number: int, log: bytes = bytes(16)) -> bytes:
    """A VHDX header with a right checksum."""
    block = bytearray(b"head" + bytes(4) + struct.pack("<Q", number) + b"\x11" * 32 + log)
    block += struct.pack("<HHIQ", 0, 1, 1 << 20, 1 << 20)
    block = block.ljust(4096, b"\0")
    struct.pack_into("<I", block, 4, crc32c(bytes(block)))
    return bytes(block)


@given(st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1), UUIDS, UUIDS)
def test_vhdx_headers(one: int, two: int, file_write: UUID, data_write: UUID) -> None:
    """Both come out whole, the second one counts, and their random beginning is forgotten."""
    first, second = vhdx.pinned(header(one), header(two), file_write, data_write)
    assert vhdx.is_whole(first)
    assert vhdx.is_whole(second)
    assert (vhdx.sequence(first), vhdx.sequence(second)) == (1, 2)
    assert (UUID(bytes_le=second[16:32]), UUID(bytes_le=second[32:48])) == (file_write, data_write)
    assert untouched(header(one), first, (4, 48))
    assert vhdx.log_place(first) == (1 << 20, 1 << 20)


def test_a_broken_vhdx_header_does_not_count() -> None:
    """One whole header is enough; none is an error, and so is a log in use."""
    broken = b"head" + bytes(4092)
    assert vhdx.pinned(broken, header(7), UUID(int=1), UUID(int=2))
    with pytest.raises(BuildError, match="neither"):
        vhdx.pinned(broken, broken, UUID(int=1), UUID(int=2))
    with pytest.raises(BuildError, match="log is in use"):
        vhdx.pinned(header(1), header(2, b"\1" * 16), UUID(int=1), UUID(int=2))


@given(st.binary(max_size=600))
def test_what_is_no_header_is_an_error_for_people(data: bytes) -> None:
    """Never a traceback of struct, whatever the bytes are."""
    attempts = (
        lambda: vdi.pinned(data, UUID(int=0), UUID(int=0)),
        lambda: vhd.pinned(data, 0, UUID(int=0)),
        lambda: vmdk.descriptor_place(data),
        lambda: vmdk.pinned(data, 0),
        lambda: vhdx.pinned(data, data, UUID(int=0), UUID(int=0)),
        lambda: vhdx.metadata_place(data),
        lambda: vhdx.page_83_place(data),
    )
    for attempt in attempts:
        with pytest.raises(BuildError):
            attempt()


@given(st.lists(st.binary(max_size=5000), max_size=60))
def test_checksums_are_those_of_all_bytes(parts: list[bytes]) -> None:
    """However the bytes come, and several at once."""
    with checksums.Checksums(["sha256", "md5", "sha256"]) as sums:
        for part in parts:
            sums.update(part)
        results = sums.results()
    whole = b"".join(parts)
    assert results == {"sha256": hashlib.sha256(whole).hexdigest(), "md5": hashlib.md5(whole).hexdigest()}


@given(st.lists(st.tuples(st.integers(0, 5 << 20), st.binary(min_size=1, max_size=9000)), max_size=4), st.booleans())
def test_checksums_of_files_with_holes(parts: list[tuple[int, bytes]], longer: bool) -> None:
    """Holes count as the zeros that they are read as, wherever they lie."""
    with TemporaryDirectory() as name:
        path = Path(name, "file")
        with path.open("wb") as file:
            for place, content in parts:
                file.seek(place)
                file.write(content)
            if longer:
                file.truncate(6 << 20)
        sums = checksums.of_file(path, ["sha256", "md5"])
        assert sums == {name: hashlib.new(name, path.read_bytes()).hexdigest() for name in ("sha256", "md5")}
