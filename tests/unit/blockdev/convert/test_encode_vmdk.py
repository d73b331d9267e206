"""The streamOptimized VMDK's own parts, read back as the specification lays them out."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from blockdev.convert import checksums, encode_vmdk
from blockdev.convert.formats import Wish, plan
from blockdev.convert.normalize import vmdk
from blockdev.core.derived_ids import content_id
from blockdev.core.errors import BuildError

WISH = Wish(format="vmdk", name="disk", epoch=0, seed="seed")
MB = 1 << 20
END = 0xFFFFFFFFFFFFFFFF


def sparse(path: Path, size: int, *parts: tuple[int, bytes]) -> Path:
    """A raw image of holes and these parts."""
    with path.open("wb") as file:
        file.truncate(size)
        for place, content in parts:
            file.seek(place)
            file.write(content)
    return path


def written(tmp_path: Path, size: int, *parts: tuple[int, bytes]) -> bytes:
    """The image of such a raw one."""
    raw = sparse(tmp_path / "raw", size, *parts)
    target = tmp_path / "disk.vmdk"
    encode_vmdk.write(raw, target, plan(WISH), WISH.seed, 2, ["sha256"])
    return target.read_bytes()


def streamed(image: bytes) -> tuple[dict[int, bytes], dict[int, int], list[tuple[int, int]]]:
    """What a reader of a stream sees, one marker after the other: grains by the disk's sector, the sector in the image
    that each lies at, and kind and sector (of what follows it) of each other marker."""
    grains, places, markers = {}, {}, []
    sector = struct.unpack_from("<Q", image, 64)[0]
    while sector * 512 < len(image):
        value, size, kind = struct.unpack_from("<QII", image, sector * 512)
        if size:
            start = sector * 512 + 12
            grains[value], places[value] = zlib.decompress(image[start : start + size]), sector
            length = -(-(12 + size) // 512)
            assert not any(image[start + size : (sector + length) * 512])
        else:
            markers.append((kind, sector + 1))
            length = 1 + value
        sector += length
    assert sector * 512 == len(image)
    return grains, places, markers


def test_the_header_is_what_the_specification_says(tmp_path: Path) -> None:
    """SparseExtentHeader, field by field; the footer is the same but for the directory's place."""
    image = written(tmp_path, 3 * MB, (MB, b"some"))
    fields = struct.unpack_from("<4sIIQQQQIQQQB4sH", image)
    assert fields == (b"KDMV", 3, 0x30001, 6144, 128, 1, 20, 512, 0, END, 128, 0, b"\n \r\n", 1)
    assert not any(image[79:512])
    footer = image[-1024:-512]
    assert footer[:56] + b"\xff" * 8 + footer[64:] == image[:512]
    assert image[-512:] == bytes(512)
    assert vmdk.descriptor_place(image[:512]) == (512, 10240)


def test_a_stream_and_its_tables_tell_the_same(tmp_path: Path) -> None:
    """Every grain is where the directory's tables say, tables follow their grains, and empty ones are not there."""
    at = (0, 5 * 65536 + 512, 31 * MB, 200 * MB, 301 * MB - 512)
    image = written(tmp_path, 301 * MB, *((place, bytes([number + 1]) * 512) for number, place in enumerate(at)))
    grains, places, markers = streamed(image)
    assert list(grains) == [place // 65536 * 128 for place in at]
    assert grains[640] == bytes(512) + b"\2" * 512 + bytes(65536 - 1024)
    assert [kind for kind, _ in markers] == [1, 1, 1, 2, 3, 0]
    directory = struct.unpack_from("<Q", image, len(image) - 1024 + 56)[0]
    assert (2, directory) in markers
    entries = struct.unpack_from("<10I", image, directory * 512)
    assert [sector for kind, sector in markers if kind == 1] == [entry for entry in entries if entry]
    assert [number for number, entry in enumerate(entries) if entry] == [0, 6, 9]
    for number, entry in enumerate(entries):
        table = struct.unpack_from("<512I", image, entry * 512) if entry else ()
        for slot, place in enumerate(table):
            assert places.get((number * 512 + slot) * 128, 0) == place


def test_a_last_grain_is_whole(tmp_path: Path) -> None:
    """A disk that ends within a grain: the disk keeps its length, the grain is filled up."""
    image = written(tmp_path, 65536 + 512, (65536, b"x" * 512))
    assert struct.unpack_from("<Q", image, 12)[0] == 129
    assert streamed(image)[0] == {128: b"x" * 512 + bytes(65536 - 512)}


def test_nothing_but_a_hole(tmp_path: Path) -> None:
    """No grains, no tables; all the rest."""
    grains, _, markers = streamed(written(tmp_path, 100 * MB))
    assert (grains, [kind for kind, _ in markers]) == ({}, [2, 3, 0])


def test_zeros_are_no_data(tmp_path: Path) -> None:
    """Written zeros and holes come to the same."""
    assert written(tmp_path, MB, (0, bytes(MB))) == written(tmp_path, MB)


def test_checksums_are_those_of_the_file(tmp_path: Path) -> None:
    """What is hashed on the way is what lies there."""
    raw, target = sparse(tmp_path / "raw", MB, (0, b"x" * 100_000)), tmp_path / "disk.vmdk"
    sums = encode_vmdk.write(raw, target, plan(WISH), "seed", 2, ["sha256", "md5"])
    assert sums == checksums.of_file(target, ["sha256", "md5"])


def test_the_id_follows_from_the_seed(tmp_path: Path) -> None:
    """And the descriptor holds the file's own name."""
    text = written(tmp_path, MB)[512:2048]
    assert b"\nCID=%08x\n" % content_id("seed") in text
    assert b'\nRW 2048 SPARSE "disk.vmdk"\n' in text


@pytest.mark.parametrize(
    ("options", "ours"),
    [
        ({}, True),
        ({"adapter_type": "ide", "hwversion": "13", "toolsversion": "1"}, True),
        ({"adapter_type": "scsi"}, False),
        ({"hwversion": 'a"b'}, False),
        ({"zeroed_grain": "on"}, False),
        ({"compat6": "on"}, False),
    ],
)
def test_which_wishes_are_ours(options: dict[str, str], ours: bool) -> None:
    """Only what is done exactly; all other things qemu-img judges."""
    assert encode_vmdk.fits(plan(replace(WISH, options=options))) is ours


def test_other_formats_are_not_ours() -> None:
    """A monolithicSparse VMDK stays qemu-img's."""
    assert not encode_vmdk.fits(plan(replace(WISH, format="vmdk-sparse")))


def test_more_than_the_format_holds() -> None:
    """Sectors are counted in 32 bits."""
    tables = encode_vmdk._Tables(1)
    tables.turned_to(0)
    tables.add(0, 0xFFFFFFFF - 128)
    with pytest.raises(BuildError, match="at most 2 TiB"):
        tables.turned_to(1)
