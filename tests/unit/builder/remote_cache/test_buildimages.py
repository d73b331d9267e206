"""Build images that travel by caches: sent once, taken instead of made, and refused where they are not right."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from blockdev.core.errors import BuildError
from builder.build_image import ensure
from builder.remote_cache.build_images import BuildImages, check_archive, key_of
from builder.remote_cache.folder import Folder
from builder.remote_cache.index import digest_of, read_index, write_index
from builder.remote_cache.open import Cache, IndexFetch
from builder.remote_cache.spec import parse

NAME = "localhost/dib-ctr-build-debian:0123456789ab"


def archive(manifest: object = None, **more: object) -> bytes:
    """An engine's archive of an image."""
    out = io.BytesIO()
    files = {"layer.tar": b"data" * 1000, "manifest.json": json.dumps(manifest or [{"RepoTags": [NAME]}]).encode()}
    files |= {name.replace("_", "."): json.dumps(data).encode() for name, data in more.items()}
    with tarfile.open(fileobj=out, mode="w") as members:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            members.addfile(member, io.BytesIO(data))
    return out.getvalue()


CONTENT = archive()


class Engine:
    """An engine with images that are bytes."""

    def __init__(self, images: Mapping[str, bytes] | None = None) -> None:
        self.name = "podman"
        self.images = dict(images or {})
        self.saved = 0

    def has_image(self, reference: str) -> bool:
        return reference in self.images

    def save_image(self, reference: str, archive: Path) -> None:
        self.saved += 1
        archive.write_bytes(self.images[reference])

    def restore_image(self, archive: Path, reference: str) -> None:
        self.images[reference] = archive.read_bytes()


@pytest.fixture(autouse=True)
def _cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))


def images(place: Folder, said: list[str], *, reads: bool = False) -> BuildImages:
    cache = Cache(parse("type=dir,path=/somewhere", writing=not reads), place, said.append)
    found = BuildImages([cache] if reads else [], [] if reads else [cache], said.append)
    found.asked = IndexFetch([cache])
    return found


def sent(place: Folder) -> tuple[Any, list[str]]:
    said: list[str] = []
    engine: Any = Engine({NAME: CONTENT})
    giving = images(place, said)
    giving.use(engine, NAME)
    return engine, [*giving.send(), *said]


def test_an_image_is_sent_once_and_taken_by_who_lacks_it(tmp_path: Path) -> None:
    place = Folder(tmp_path / "cache")
    _, (line,) = sent(place)
    assert line.startswith("cache: the build image sent to ")
    engine, nothing = sent(place)
    assert (engine.saved, nothing) == (0, [])
    said: list[str] = []
    other: Any = Engine()
    assert images(place, said, reads=True).bring(other, NAME)
    assert other.images == {NAME: CONTENT}
    assert said == ["taking the build image from the cache /somewhere (once)"]
    assert not images(place, [], reads=True).bring(other, f"{NAME}-of-another-recipe")


def test_its_use_is_noted_as_a_layers_is(tmp_path: Path) -> None:
    place = Folder(tmp_path / "cache")
    sent(place)
    (entry,) = read_index(place.index())
    assert entry.key == key_of(NAME)
    place.change_index(lambda _: write_index([replace(entry, used=1.0)]), [])
    engine, said = sent(place)
    assert (engine.saved, said) == (0, [])
    (entry,) = read_index(place.index())
    assert entry.used > 1_000_000


def test_machines_with_other_mirrors_share_none_and_passwords_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine's mirror and apt's settings go into a build image."""
    place, given = Folder(tmp_path / "cache"), {"SOURCES": "deb http://one/debian trixie main", "APT_SETTINGS": ""}
    monkeypatch.setattr(ensure, "of_this_machine", lambda: given)
    sent(place)
    assert images(place, [], reads=True).bring(Engine(), NAME)  # type: ignore[arg-type]
    given["SOURCES"] = "deb http://other/debian trixie main"
    assert not images(place, [], reads=True).bring(Engine(), NAME)  # type: ignore[arg-type]
    given["APT_SETTINGS"] = 'Acquire::http::Proxy "http://user:secret@proxy:3128";'
    engine, said = sent(place)
    assert (engine.saved, said) == (0, [])


def test_the_hosts_tools_are_no_image(tmp_path: Path) -> None:
    place = Folder(tmp_path / "cache")
    giving = images(place, [])
    giving.use(SimpleNamespace(name="host"), NAME)
    assert giving.send() == []
    assert place.index() == b""


@pytest.mark.parametrize("wrong", ["blob", "length", "gone"])
def test_one_that_is_not_right_is_refused(tmp_path: Path, wrong: str) -> None:
    place = Folder(tmp_path / "cache")
    sent(place)
    (entry,) = read_index(place.index())
    file = tmp_path / "cache/blobs/sha256" / entry.blob.removeprefix("sha256:")
    if wrong == "gone":
        file.unlink()
    elif wrong == "length":
        place.change_index(lambda _: write_index([replace(entry, unpacked=3)]), [])
    else:
        data = b"no archive at all"
        place.put_blob(digest_of(data), len(data), io.BytesIO(data))
        place.change_index(lambda _: write_index([replace(entry, blob=digest_of(data), size=len(data))]), [])
    said: list[str] = []
    engine: Any = Engine()
    assert not images(place, said, reads=True).bring(engine, NAME)
    assert engine.images == {}
    assert said[1].startswith("warning: the cache /somewhere: ")


def test_what_cannot_be_sent_is_said_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Engine, "save_image", full)
    _, (line,) = sent(Folder(tmp_path / "cache"))
    assert "No space left" in line


@pytest.mark.parametrize(
    "content",
    [
        archive([{"RepoTags": ["docker.io/library/debian:latest"]}]),
        archive([{"RepoTags": [NAME, "docker.io/library/debian:latest"]}]),
        archive([{"RepoTags": [NAME]}, {"RepoTags": []}]),
        archive([{"RepoTags": None}]),
        archive(repositories={"debian": {"latest": "0"}}),
        archive(index_json={"manifests": [{}, {}]}),
        archive(index_json=[]),
        archive({"RepoTags": [NAME]}),
        archive()[:700],
        b"",
        b"x" * 2000,
    ],
)
def test_an_archive_that_brings_other_images_is_refused(tmp_path: Path, content: bytes) -> None:
    """Whoever can write to a cache changes no other image of this engine."""
    file = tmp_path / "image.tar"
    file.write_bytes(content)
    with pytest.raises(BuildError, match="and was refused"):
        check_archive(file, NAME)


def test_archives_as_engines_write_them_are_taken(tmp_path: Path) -> None:
    repository, _, tag = NAME.rpartition(":")
    file = tmp_path / "image.tar"
    for content in (archive(), archive(repositories={repository: {tag: "0"}}), archive(index_json={"manifests": [{}]})):
        file.write_bytes(content)
        check_archive(file, NAME)
