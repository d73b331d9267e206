"""The compressed qcow2's own parts, read back as docs/interop/qcow2.txt lays them out, without qemu-img."""

from __future__ import annotations

import random
import struct
import zlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockdev.convert import checksums, encode_qcow2, libzstd
from blockdev.convert.encode_qcow2 import descriptor
from blockdev.convert.formats import Wish, plan

WISH = Wish(format="qcow2", name="disk", epoch=0, seed="seed", compression="zlib", options={"cluster_size": "4096"})
CLUSTER = 4096
FIELDS = ">4sIQIIQIIQQIIQQQQIIB"
OFFSET = (1 << 56) - 512  # the bits of an L1 or plain L2 entry that say where


def written(folder: Path, disk: bytes, wish: Wish = WISH) -> bytes:
    """The image of a disk."""
    (folder / "raw").write_bytes(disk)
    target = folder / f"disk-{len(list(folder.iterdir()))}"
    sums = encode_qcow2.write(folder / "raw", target, plan(wish), "seed", 2, ["sha256"])
    assert sums == checksums.of_file(target, ["sha256"])
    return target.read_bytes()


def numbers(image: bytes, offset: int, count: int) -> tuple[int, ...]:
    """Entries of 64 bits."""
    return struct.unpack_from(f">{count}Q", image, offset)


def read_back(image: bytes) -> tuple[bytes, bool]:
    """The disk in an image of zlib and 4 KiB clusters; and: does the image count each of its clusters rightly?"""
    fields = struct.unpack_from(FIELDS, image)
    size, l1_size, l1, table, table_clusters = fields[5], *fields[7:11]
    used = Counter([0, *(table // CLUSTER + n for n in range(table_clusters))])
    used.update(l1 // CLUSTER + n for n in range(-(-l1_size * 8 // CLUSTER)))
    disk = bytearray(-(-size // CLUSTER) * CLUSTER)
    for high, l2 in enumerate(numbers(image, l1, l1_size)):
        if not l2:
            continue
        used[(l2 & OFFSET) // CLUSTER] += 1
        for low, entry in enumerate(numbers(image, l2 & OFFSET, 512)):
            if not entry:
                continue
            start = (high * 512 + low) * CLUSTER
            if entry >> 62 & 1:
                offset, beyond = entry & (1 << 58) - 1, entry >> 58 & 15
                end = (offset // 512 + beyond + 1) * 512
                disk[start : start + CLUSTER] = zlib.decompressobj(-12).decompress(image[offset:end])
                used.update(range(offset // CLUSTER, (end - 1) // CLUSTER + 1))
            else:
                assert entry >> 63
                offset = entry & OFFSET
                disk[start : start + CLUSTER] = image[offset : offset + CLUSTER]
                used[offset // CLUSTER] += 1
    blocks = [block for block in numbers(image, table, table_clusters * 512) if block]
    used.update(block // CLUSTER for block in blocks)
    counted = [count for block in blocks for count in struct.unpack_from(f">{CLUSTER // 2}H", image, block)]
    total = len(image) // CLUSTER
    right = counted[:total] == [used[number] for number in range(total)] and not any(counted[total:])
    assert len(disk) - CLUSTER < size <= len(disk)
    assert not any(disk[size:])
    return bytes(disk[:size]), right


def mixed(seed: int, clusters: int) -> bytes:
    """Clusters of noise, words, zeros, and halves of them, in random order."""
    chance = random.Random(seed)
    kinds = (
        lambda: chance.randbytes(CLUSTER),
        lambda: (b"%d words " % chance.randrange(1000) * CLUSTER)[:CLUSTER],
        lambda: bytes(CLUSTER),
        lambda: chance.randbytes(CLUSTER * 3 // 4).ljust(CLUSTER, b"x"),
    )
    return b"".join(chance.choice(kinds)() for _ in range(clusters))


def test_the_header_is_what_qemu_documents(tmp_path: Path) -> None:
    """Field by field, of both compressions; then nothing but the end of the extensions."""
    image = written(tmp_path, b"x" * 100 * CLUSTER)
    fields = struct.unpack_from(FIELDS, image)
    assert fields[:8] == (b"QFI\xfb", 3, 0, 0, 12, 100 * CLUSTER, 0, 1)
    assert fields[10:] == (1, 0, 0, 0, 0, 0, 4, 112, 0)
    assert not any(image[105:CLUSTER])
    options = {**WISH.options, "lazy_refcounts": "on"}
    image = written(tmp_path, b"x" * CLUSTER, replace(WISH, compression="zstd", options=options))
    assert struct.unpack_from(FIELDS, image)[13:] == (8, 1, 0, 4, 112, 1)


@pytest.mark.parametrize("seed", range(6))
def test_every_cluster_is_found_and_counted(tmp_path: Path, seed: int) -> None:
    """Across L2 tables, with plain clusters between compressed ones, and with a last cluster that is cut off."""
    disk = mixed(seed, 1300)[: 1300 * CLUSTER - 512 * seed]
    image = written(tmp_path, disk)
    assert read_back(image) == (disk, True)
    assert len(image) < len(disk) * 0.8


def test_more_than_one_refcount_block(tmp_path: Path) -> None:
    """2048 clusters a block: the blocks count themselves and each other."""
    disk = random.Random(1).randbytes(4200 * CLUSTER)
    image = written(tmp_path, disk)
    assert read_back(image) == (disk, True)


def test_the_number_of_threads_cannot_be_seen(tmp_path: Path) -> None:
    """One, two, four: the same bytes."""
    (tmp_path / "raw").write_bytes(mixed(9, 2000))
    chosen = plan(replace(WISH, compression="zstd"))
    sums = [
        encode_qcow2.write(tmp_path / "raw", tmp_path / str(n), chosen, "", n, ["sha256"])["sha256"] for n in (1, 2, 4)
    ]
    assert len(set(sums)) == 1


def test_holes_take_no_room(tmp_path: Path) -> None:
    """A disk of zeros is header, L1 table, refcount block and table."""
    assert len(written(tmp_path, bytes(300 * CLUSTER))) == 4 * CLUSTER


@given(st.integers(12, 21), st.data())
def test_descriptors_cover_their_bytes(bits: int, data: st.DataObject) -> None:
    """What a reader takes from a descriptor begins with the first byte and holds the last, and no sector more."""
    cluster = 1 << bits
    offset = data.draw(st.integers(cluster, 1 << 40))
    length = data.draw(st.integers(1, cluster - 1))
    entry = descriptor(cluster, offset, length)
    x = 62 - (bits - 8)
    start, sectors = entry & (1 << x) - 1, entry >> x & (1 << 62 - x) - 1
    assert entry >> 62 == 1
    assert start == offset
    taken = (sectors + 1) * 512 - (start & 511)
    assert length <= taken < length + 512


@pytest.mark.parametrize(
    ("changes", "ours"),
    [
        ({}, True),
        ({"compression": "zlib"}, True),
        ({"compression": "none"}, False),
        ({"options": {"compat": "0.10"}}, False),
        ({"options": {"compat": "1.1", "lazy_refcounts": "on"}}, True),
        ({"options": {"cluster_size": "64k"}}, True),
        ({"options": {"cluster_size": "2M"}}, True),
        ({"options": {"cluster_size": "3"}}, False),
        ({"options": {"cluster_size": "64kb"}}, False),
        ({"options": {"cluster_size": "512"}}, False),
        ({"options": {"cluster_size": "4M"}}, False),
        ({"options": {"extended_l2": "on"}}, False),
        ({"options": {"refcount_bits": "8"}}, False),
        ({"options": {"preallocation": "metadata"}}, False),
        ({"format": "vhdx"}, False),
    ],
)
def test_which_wishes_are_ours(changes: dict[str, object], ours: bool) -> None:
    """Only what is done exactly; all other things qemu-img judges."""
    wish = replace(WISH, **{"compression": "", "options": {}, **changes})  # type: ignore[arg-type]
    assert encode_qcow2.fits(plan(wish)) is ours


def test_without_libzstd(monkeypatch: pytest.MonkeyPatch) -> None:
    """zlib is still ours, zstd is qemu-img's."""
    monkeypatch.setattr(libzstd, "library", lambda: None)
    assert encode_qcow2.fits(plan(WISH))
    assert not encode_qcow2.fits(plan(replace(WISH, compression="zstd")))


def test_what_zstd_does_not_shorten() -> None:
    """None where the frame would be longer than asked for; otherwise a frame (RFC 8878, section 3.1.1)."""
    compress = libzstd.Compressor(4095, 3)
    assert compress(random.Random(2).randbytes(4096)) is None
    frame = compress(b"x" * 4096)
    assert frame is not None
    assert frame.startswith(bytes.fromhex("28b52ffd"))
    assert len(frame) < 50
