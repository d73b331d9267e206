"""Package caches: what a stage finds, what is kept of what it leaves, and what is let go of."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from blockdev.core.errors import UsageError
from stages.element.cache_rules import CacheRule, parse_cache_rules
from stages.layers import listed_packages, package_cache, sweep
from stages.layers.listed_packages import ListedPackages
from stages.layers.package_cache import CacheView, ListsState, PackageCaches
from stages.layers.store import Store
from stages.outputs.verify_store import verify
from stages.repositories.package_index import ListedFile
from stages.repositories.state import State
from stages.sandbox.view import Cache

RULE = CacheRule("dnf", "/var/cache/dnf", "*.rpm", "repomd.xml")
DOWNLOADS = CacheRule("downloads", "/var/cache/downloads")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def repomd(packages: Mapping[str, bytes]) -> tuple[bytes, bytes]:
    """A repository's index and its list of these packages."""
    primary = "".join(
        f'<package type="rpm"><checksum type="sha256" pkgid="YES">{sha256(data)}</checksum>'
        f'<location href="Packages/{name}"/></package>'
        for name, data in packages.items()
    ).encode()
    return (
        f'<repomd><data type="primary"><checksum type="sha256">{sha256(primary)}</checksum>'
        f'<location href="repodata/primary.xml"/></data></repomd>'.encode(),
        primary,
    )


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(package_cache, "overlaid", no_overlay)
    monkeypatch.setattr(os, "chown", lambda *_: None)
    return Store(tmp_path)


@contextmanager
def no_overlay(folder: Path, at: Path) -> Iterator[Path]:
    """Tests may not mount; they write into the upper folder themselves."""
    at.mkdir(parents=True)
    yield at


@dataclasses.dataclass
class Build:
    """One build's caches, with a repository of these packages."""

    store: Store
    packages: Mapping[str, bytes]
    rules: tuple[CacheRule, ...] = (RULE, DOWNLOADS)
    writers: str = "w"
    arch: str = "amd64"

    def stage(self, writes: Mapping[str, bytes], *, ends_well: bool = True, rule: CacheRule = RULE) -> dict[str, bytes]:
        """Run a stage that writes files into its view of a cache; what it found there."""
        index, primary = repomd(self.packages)
        states = [State("http://mirror/repodata/repomd.xml", sha256(index), 0)]
        listed = ListedPackages(self.store, states)
        lists = ListsState.of(states, "key")
        own = PackageCaches(self.store, self.rules, self.arch, lists, listed, self.writers)
        with self.store.workplace() as place, own.views([rule], place, place.path / "at") as (view,):
            found = {
                str(file.relative_to(view.lower)): file.read_bytes() for file in view.lower.rglob("*") if file.is_file()
            }
            for name, data in writes.items():
                data = {b"INDEX": index, b"PRIMARY": primary}.get(data, data)
                file = view.upper / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
            if ends_well:
                own.keep([view], place.path)
        return found


LISTS = {"f/repodata/repomd.xml": b"INDEX", "f/repodata/primary.xml": b"PRIMARY"}


def test_a_package_is_kept_and_given_only_where_the_repositories_list_it(store: Store) -> None:
    """The content counts and the name: neither another file of that name nor that file by another name is kept."""
    ours = Build(store, {"a.rpm": b"good", "b.rpm": b"another"})
    ours.stage({**LISTS, "f/packages/a.rpm": b"evil", "f/packages/b.rpm": b"good", "f/packages/c.rpm": b"c"})
    assert set(ours.stage({})) == {*LISTS}
    ours.stage({"f/packages/a.rpm": b"good"})
    assert ours.stage({})["f/packages/a.rpm"] == b"good"
    ours.stage({"f/packages/a.rpm": b"evil"})
    assert ours.stage({})["f/packages/a.rpm"] == b"good"


def test_a_repository_that_lists_a_bad_package_gives_it_to_its_own_builds_alone(store: Store) -> None:
    ours, theirs = Build(store, {"a.rpm": b"good"}), Build(store, {"a.rpm": b"evil"})
    theirs.stage({**LISTS, "f/packages/a.rpm": b"evil"})
    ours.stage({**LISTS, "f/packages/a.rpm": b"good"})
    assert ours.stage({})["f/packages/a.rpm"] == b"good"
    assert theirs.stage({})["f/packages/a.rpm"] == b"evil"


def test_a_package_stays_after_its_repository_has_moved(store: Store) -> None:
    Build(store, {"a.rpm": b"1", "b.rpm": b"2"}).stage({**LISTS, "f/p/a.rpm": b"1", "f/p/b.rpm": b"2"})
    moved = Build(store, {"a.rpm": b"1", "b.rpm": b"3"})
    moved.stage({**LISTS, "x.rpm": b"new"})
    assert set(moved.stage({})) == {*LISTS, "f/p/a.rpm"}


def test_lists_that_a_script_made_up_vouch_for_nothing(store: Store) -> None:
    """Neither an index of another state nor, below the right index, a list with another checksum."""
    ours = Build(store, {"a.rpm": b"good"})
    index, primary = repomd({"a.rpm": b"evil"})
    ours.stage({"f/repodata/repomd.xml": index, "f/repodata/primary.xml": primary, "f/p/a.rpm": b"evil"})
    ours.stage({"f/repodata/repomd.xml": b"INDEX", "f/repodata/primary.xml": primary, "f/p/a.rpm": b"evil"})
    assert set(ours.stage({})) == {"f/repodata/repomd.xml"}
    assert set(dataclasses.replace(ours, writers="other").stage({})) == {"f/repodata/repomd.xml"}


def test_what_tools_made_of_lists_and_other_caches_are_for_the_same_writers(store: Store) -> None:
    ours = Build(store, {})
    other = dataclasses.replace(ours, writers="other")
    ours.stage({**LISTS, "f.solv": b"s", "f/cookie": b"c", "@System.solv": b"t", "f/x.pid": b"1"})
    ours.stage({"wheel": b"w"}, rule=DOWNLOADS)
    assert set(ours.stage({})) == {*LISTS, "f.solv", "f/cookie"}
    assert set(other.stage({})) == {*LISTS}
    assert ours.stage({}, rule=DOWNLOADS) == {"wheel": b"w"}
    assert other.stage({}, rule=DOWNLOADS) == {}


def test_nothing_of_a_failed_stage_is_kept(store: Store) -> None:
    ours = Build(store, {"a.rpm": b"good"})
    ours.stage({**LISTS, "f/a.rpm": b"good", "f.solv": b"s"}, ends_well=False)
    assert ours.stage({}) == {}


def test_links_and_what_hangs_on_a_file_do_not_come_along(store: Store, tmp_path: Path) -> None:
    ours = Build(store, {"a.rpm": b"good", "b.rpm": b"good"})
    ours.stage({**LISTS})
    secret = tmp_path / "secret"
    secret.write_bytes(b"good")
    index, _ = repomd(ours.packages)
    listed = ListedPackages(store, [State("http://mirror/repodata/repomd.xml", sha256(index), 0)])
    upper = tmp_path / "upper"
    upper.mkdir()
    (upper / "a.rpm").symlink_to(secret)
    os.link(secret, upper / "b.rpm")
    (upper / "b.rpm").chmod(0o4777)
    own = PackageCaches(store, [RULE], "amd64", ListsState("s", frozenset()), listed, "w")
    listed.learn(listed_packages.StagePlaces(tmp_path, [package_cache.shared(store, "dnf-lists", "amd64")]))
    place = tmp_path / "lower"
    place.mkdir()
    for name, data in zip(("repomd.xml", "primary.xml"), repomd(ours.packages), strict=True):
        (place / name).write_bytes(data)
    own.keep([CacheView(Cache("dnf", tmp_path / "at", "/x"), RULE, place, upper)], tmp_path)
    (kept,) = package_cache._files(package_cache.shared(store, "dnf", "amd64"))
    assert kept.name.endswith("-b.rpm")
    assert kept.stat().st_mode & 0o7777 == 0o644
    assert kept.stat().st_ino != secret.stat().st_ino


def test_a_kept_file_that_changed_is_found_and_removed(store: Store) -> None:
    ours = Build(store, {"a.rpm": b"good"})
    ours.stage({**LISTS, "f/a.rpm": b"good"})
    assert package_cache.verify_cache_files(store) == []
    (kept,) = package_cache._files(package_cache.shared(store, "dnf", "amd64"))
    kept.write_bytes(b"gooe")
    (told,), _ = verify(store)
    assert told.startswith("a.rpm in the cache dnf ")
    assert set(ours.stage({})) == {*LISTS}


def test_what_an_earlier_version_kept_is_not_believed(store: Store) -> None:
    for path in ("apt/amd64/a.deb", "image-cache/amd64/source-repositories/x", "given/0123"):
        (store.root / "cache" / path).parent.mkdir(parents=True)
        (store.root / "cache" / path).write_bytes(b"old")
    sweep.drop_old_layout(store)
    assert sorted(file.name for file in package_cache._files(store.root / "cache")) == [sweep.LAYOUT, "0123"]
    (store.root / "cache/apt").mkdir()
    sweep.drop_old_layout(store)
    assert (store.root / "cache/apt").is_dir()


@pytest.mark.parametrize("name", ["given", "listed", "image-cache", "dnf-lists", "dnf-private", ".x"])
def test_no_element_declares_a_cache_by_the_name_of_another_kind(name: str) -> None:
    with pytest.raises(UsageError):
        parse_cache_rules(f"- {{name: {name}, path: /x}}", "caches.yaml")


def test_two_files_for_one_name_are_both_left_out(store: Store) -> None:
    """Two repositories of one build may list another file by one name: nobody can tell which is wanted."""
    entries = [listed_packages.entry_of(ListedFile("a.rpm", "sha256", sha256(data))) for data in (b"one", b"two")]
    kept = package_cache.shared(store, "dnf", "amd64")
    kept.mkdir(parents=True)
    for data, entry in zip((b"one", b"two"), entries, strict=True):
        (kept / f"{sha256(data)}-{entry.hex()}-a.rpm").write_bytes(data)
    found = []
    for more in (entries[:1], entries):
        own = PackageCaches(
            store, [RULE], "amd64", ListsState("s", frozenset()), ListedPackages(store, [], frozenset(more)), "w"
        )
        with store.workplace() as place, own.views([RULE], place, place.path / "at") as (view,):
            found.append([file.read_bytes() for file in view.lower.rglob("*") if file.is_file()])
    assert found == [[b"one"], []]
