"""What goes to caches while a build goes on, and what makes it part of them: nothing of a build that fails."""

from __future__ import annotations

import io
import json
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO

import pytest

from blockdev.core.errors import BuildError
from builder.remote_cache.folder import Folder
from builder.remote_cache.index import IndexEntry, digest_of, read_index
from builder.remote_cache.open import Cache
from builder.remote_cache.spec import parse
from builder.remote_cache.upload import Upload
from stages.remote_cache.exporter import ENTRIES
from stages.remote_cache.offers import chain_digest

LARGE, LITTLE = b"large" * 1000, b"little"


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def entry(number: int, data: bytes) -> IndexEntry:
    return IndexEntry(
        key=f"{number:064x}",
        below=chain_digest(()),
        layer=f"{number:010x}",
        blob=digest_of(data),
        size=len(data),
        unpacked=len(data),
        parts=("tree",),
        title=f"install/element/{number}",
        created=1.0,
    )


FIRST, SECOND = entry(1, LARGE), entry(2, LITTLE)


def archive(**files: bytes) -> bytes:
    """A folder of the store as it is fetched."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as members:
        for name, data in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(data)
            members.addfile(member, io.BytesIO(data))
    return out.getvalue()


def listed(*entries: IndexEntry) -> bytes:
    fields = ("key", "below", "layer", "blob", "size", "unpacked", "parts", "title", "created")
    return json.dumps([{name: asdict(each)[name] for name in fields} for each in entries]).encode()


OF_ITS_OWN = archive(**{FIRST.blob.removeprefix("sha256:"): LARGE})
REST = archive(**{SECOND.blob.removeprefix("sha256:"): LITTLE, ENTRIES: listed(FIRST, SECOND)})


def fetch(path: str) -> Iterator[bytes]:
    yield {"own": OF_ITS_OWN, "rest": REST, "empty": archive()}[path]


class Noted(Folder):
    """A folder that tells when a blob has come, and how often."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.came: list[str] = []
        self.first = threading.Event()

    def put_blob(self, digest: str, size: int, data: IO[bytes]) -> None:
        super().put_blob(digest, size, data)
        self.came.append(digest)
        self.first.set()


class Cut(Folder):
    """A folder that a blob never comes to."""

    def put_blob(self, digest: str, size: int, data: IO[bytes]) -> None:
        raise BuildError("the disk is full")


def cache(place: Folder, said: list[str]) -> Cache:
    return Cache(parse("type=dir,path=/nowhere", writing=True), place, said.append)


def test_a_large_layer_comes_while_the_build_goes_on_and_counts_at_its_end(tmp_path: Path) -> None:
    place, said = Noted(tmp_path / "cache"), list[str]()
    sends = Upload([cache(place, said)], [[]], fetch)
    sends.begin("own", FIRST)
    assert place.first.wait(20)
    assert place.index() == b"", "nothing is listed before the build has succeeded"
    read = threading.Event()
    sends.send("rest", [], read.set)
    assert read.is_set()
    assert sorted(place.came) == sorted([FIRST.blob, SECOND.blob]), "each once"
    assert {each.identity for each in read_index(place.index())} == {FIRST.identity, SECOND.identity}
    assert (sends.sent, sends.bytes, said) == ([2], [len(LARGE) + len(LITTLE)], [])
    assert not list(tmp_path.glob("cache-*"))


def test_what_a_cache_has_is_not_even_fetched(tmp_path: Path) -> None:
    place = Noted(tmp_path / "cache")
    sends = Upload([cache(place, [])], [[FIRST]], lambda path: pytest.fail(path))
    sends.begin("own", FIRST)
    sends.close()
    assert place.came == []


def test_of_a_build_that_fails_nothing_counts_and_nothing_is_left(tmp_path: Path) -> None:
    place = Noted(tmp_path / "cache")
    sends = Upload([cache(place, [])], [[]], fetch)
    sends.begin("own", FIRST)
    sends.close()
    assert place.index() == b""
    assert not list(tmp_path.glob("cache-*"))


def test_one_cache_that_fails_leaves_the_others_theirs(tmp_path: Path) -> None:
    place, said = Noted(tmp_path / "cache"), list[str]()
    sends = Upload([cache(Cut(tmp_path / "cut"), said), cache(place, said)], [[], []], fetch)
    sends.begin("own", FIRST)
    sends.send("rest", [], lambda: None)
    assert sends.sent == [0, 2]
    (warning,) = said
    assert "the disk is full" in warning


def test_a_layer_that_is_not_in_its_folder_is_said(tmp_path: Path) -> None:
    sends = Upload([cache(Noted(tmp_path / "cache"), [])], [[]], fetch)
    sends.begin("empty", FIRST)
    read = threading.Event()
    with pytest.raises(BuildError, match="is not there"):
        sends.send("rest", [], read.set)
    assert read.is_set(), "the build container may go"
