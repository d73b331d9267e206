"""Layers as compressed blocks: the same bytes whatever the threads, found again, and little made anew."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.outputs.formats.compression import Compression, write_layer
from stages.outputs.formats.gzip_blocks import MAX, Blob, BlockCache, BlockWriter, probe, write_blocks
from stages.outputs.formats.tar_stream import FILE, BlockSink, Member, TarStream, Written
from tests.examples import examples


def archive(files: dict[str, bytes]) -> object:
    def write(out: BlockSink) -> Written:
        stream = TarStream(out)
        for name, data in sorted(files.items()):
            stream.add(Member(name.encode(), FILE, size=len(data)), data)
        return stream.close()

    return write


def many(count: int = 60) -> dict[str, bytes]:
    return {f"file-{number:03}": os.urandom(40_000 + number) + bytes(20_000) for number in range(count)}


def blob(target: Path, files: dict[str, bytes], cache: BlockCache | None = None) -> Blob:
    return write_blocks(target, 6, cache, archive(files))  # type: ignore[arg-type]


def test_layers_are_compressed_by_gzip_at_its_own_level_unless_something_else_is_asked(tmp_path: Path) -> None:
    files = {"words": b"".join(b"%d green bottles\n" % number for number in range(20_000))}

    def written(compression: Compression) -> Blob:
        return write_layer(tmp_path / "layer", compression, None, archive(files))  # type: ignore[arg-type]

    default = written(Compression())
    assert default == written(Compression.chosen()) == written(Compression.chosen("gzip", "6"))
    assert Compression().tool().startswith("gzip level 6, ")
    assert written(Compression.chosen("gzip", "1")).bytes > default.bytes


def test_the_blob_is_what_it_says(tmp_path: Path) -> None:
    written = blob(tmp_path / "blob", many())
    data = (tmp_path / "blob").read_bytes()
    assert written.bytes == len(data)
    assert written.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert written.diff_id == f"sha256:{hashlib.sha256(gzip.decompress(data)).hexdigest()}"
    assert subprocess.run(["gzip", "-dc", tmp_path / "blob"], capture_output=True).stdout == gzip.decompress(data)


def test_cache_and_processors_change_nothing(tmp_path: Path) -> None:
    files = many()
    cache = BlockCache(tmp_path / "blocks", 6)
    plain, first, second = (blob(tmp_path / "blob", files, each) for each in (None, cache, cache))
    assert plain == first == second
    processors = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(processors)})
        assert blob(tmp_path / "blob", files) == plain
    finally:
        os.sched_setaffinity(0, processors)


def test_one_changed_file_changes_few_blocks(tmp_path: Path) -> None:
    files = many(150)
    cache = BlockCache(tmp_path / "blocks", 6)
    blob(tmp_path / "blob", files, cache)
    before = {path.name for path in (tmp_path / "blocks").rglob("*") if path.is_file()}
    assert len(before) >= 8
    blob(tmp_path / "blob", {**files, "file-070-more": b"new" * 10_000}, cache)
    after = {path.name for path in (tmp_path / "blocks").rglob("*") if path.is_file()}
    assert 1 <= len(after - before) <= 3


def test_a_block_that_is_no_longer_whole_is_made_again(tmp_path: Path) -> None:
    files = many(10)
    cache = BlockCache(tmp_path / "blocks", 6)
    whole = blob(tmp_path / "blob", files, cache)
    for path in (tmp_path / "blocks").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-1])
    assert blob(tmp_path / "blob", files, cache) == whole


def test_a_big_file_is_cut_where_it_begins(tmp_path: Path) -> None:
    big = os.urandom(3 * MAX + 17)
    cache = BlockCache(tmp_path / "blocks", 6)
    blob(tmp_path / "blob", {"a": b"1", "big": big}, cache)
    before = {path.name for path in (tmp_path / "blocks").rglob("*") if path.is_file()}
    blob(tmp_path / "blob", {"a": b"12345" * 1000, "big": big}, cache)
    after = {path.name for path in (tmp_path / "blocks").rglob("*") if path.is_file()}
    assert len(after - before) <= 2  # its own, and the last one: an archive ends at a whole record


def test_a_full_disk_ends_the_writing(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb", buffering=0) as out:
        writer = BlockWriter(out, 6, None)
        with pytest.raises(OSError, match="No space"):
            archive(many())(writer)  # type: ignore[operator]
            writer.close()
        writer.abandon()


def test_this_zlib_is_like_others() -> None:
    assert probe()


@settings(max_examples=examples(30), deadline=None)
@given(st.lists(st.binary(max_size=3000), max_size=40))
def test_whatever_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]) -> None:
    target = tmp_path_factory.mktemp("blob") / "blob"
    with target.open("wb") as out:
        writer = BlockWriter(out, 6, None)
        for piece in pieces:
            writer.member(piece[:8], len(piece))
            writer.write(piece * 200)
        written = writer.close()
    plain = b"".join(piece * 200 for piece in pieces)
    data = target.read_bytes()
    assert (gzip.decompress(data) if data else b"") == plain
    assert written.diff_id == f"sha256:{hashlib.sha256(plain).hexdigest()}"


def test_zstd_gives_the_same_bytes_on_one_processor(tmp_path: Path) -> None:
    files, compression = many(), Compression.chosen("zstd")
    written = write_layer(tmp_path / "blob", compression, None, archive(files))  # type: ignore[arg-type]
    plain = subprocess.run(["zstd", "-dc", tmp_path / "blob"], capture_output=True, check=True).stdout
    assert written.diff_id == f"sha256:{hashlib.sha256(plain).hexdigest()}"
    assert written.digest == f"sha256:{hashlib.sha256((tmp_path / 'blob').read_bytes()).hexdigest()}"
    processors = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(processors)})
        assert write_layer(tmp_path / "blob", compression, None, archive(files)) == written  # type: ignore[arg-type]
    finally:
        os.sched_setaffinity(0, processors)
    assert compression.tool().startswith("zstd level 9, v1.")
