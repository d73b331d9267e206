"""Outputs that the store keeps, for a host has not fetched them yet: each flipped bit of one is found."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.layers.digest_list import file_digest
from stages.layers.finished_output import DONE, adopt_done, damaged, read_done, write_done
from stages.layers.store import Store
from stages.outputs.exporter import Exporter
from stages.outputs.finished_tree import FinishedTree
from stages.outputs.verify_store import verify
from stages.plan.plan import Plan
from stages.protocol.request import Request
from tests.examples import examples

BLOB = b"a layer of an image" * 99


def flip(file: Path, place: int) -> None:
    was = file.stat()
    data = bytearray(file.read_bytes())
    data[place % len(data)] ^= 1 << place % 8
    file.write_bytes(data)
    os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))


def output(store: Store, key: str) -> Path:
    """An image layout and a file beside it, as an exporter leaves them."""
    folder = store.root / "outputs" / key
    blobs = folder / "artifact/blobs/sha256"
    blobs.mkdir(parents=True)
    (folder / "blob").write_bytes(BLOB)
    (folder / "blob").rename(blobs / file_digest(str(folder / "blob")))
    (folder / "artifact/index.json").write_text("{}")
    (folder / "described.json").write_text('{"name": "x"}')
    write_done(folder, {}, digest="sha256:0", image="sha256:0", bytes=len(BLOB), type="oci", name="x")
    return folder


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(number=st.integers(0, 3), place=st.integers(0))
def test_each_flipped_bit_of_an_output_is_found(tmp_path: Path, number: int, place: int) -> None:
    store = Store(tmp_path)
    folder = store.root / "outputs" / "key"
    if not folder.exists():
        output(store, "key")
    whole = read_done(folder)
    assert whole is not None
    assert damaged(folder, whole) == []
    file = files(folder)[number]
    before = file.read_bytes()
    flip(file, place)
    done = read_done(folder)
    if file.name == DONE:
        assert done is None
    else:
        assert done is not None
        assert damaged(folder, done) == [str(file.relative_to(folder))]
    file.write_bytes(before)


def test_a_file_that_is_gone_or_too_many_is_found(tmp_path: Path) -> None:
    folder = output(Store(tmp_path), "key")
    done = read_done(folder)
    assert done is not None
    (folder / "described.json").rename(folder / "other.json")
    assert damaged(folder, done) == ["described.json", "other.json"]


def test_verify_finds_a_damaged_output_and_lets_go_of_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number in range(4):
        folder = output(store, f"key-{number}")
        assert verify(store) == ([], 0)
        flip(files(folder)[number], 77)
        wrong, _ = verify(store)
        assert [sentence.partition(":")[0] for sentence in wrong] == [f"the output key-{number}"]
        assert not folder.exists()


def test_an_output_that_is_to_be_delivered_is_compared_first(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path)
    request, plan = Request.__new__(Request), Plan.__new__(Plan)
    tree = FinishedTree(plan, (), {})
    good, bad = output(store, "good"), output(store, "bad")
    flip(next((bad / "artifact/blobs/sha256").iterdir()), 5)
    exporter = Exporter(request, store, tree, tmp_path)
    for key in ("good", "bad"):
        exporter._let_go_of_damaged(key, "oci")
    assert exporter.outputs.find("good") is not None
    assert good.is_dir()
    assert exporter.outputs.find("bad") is None, "it is made again"
    (note,) = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert "the oci in the store: 1 file differs: artifact/blobs/sha256/" in note["text"]


def test_an_output_from_elsewhere_is_what_was_written_there(tmp_path: Path) -> None:
    folder = output(Store(tmp_path), "key")
    adopt_done(folder)
    assert read_done(folder) is not None
    flip(folder / "artifact/index.json", 1)
    with pytest.raises(ValueError, match="not those that were written"):
        adopt_done(folder)
