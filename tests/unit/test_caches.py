"""Package caches: what a stage finds, what is kept of what it leaves, and what is let go of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from stages import caches
from stages.caches import CacheRule, ListsState
from stages.repositories import State
from stages.store import Store

RULE = CacheRule("dnf", "/var/cache/dnf", "*.rpm", "repomd.xml")


def state_of(*indices: bytes) -> ListsState:
    return ListsState.of([State(f"http://m/{data!r}", hashlib.sha256(data).hexdigest(), 0) for data in indices], "key")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def stage(store: Store, state: ListsState, writes: Mapping[str, bytes], *, ends_well: bool = True) -> set[str]:
    """Run a stage that writes files into its view; what it found there."""
    with store.workplace() as place:
        (view,) = caches.open_views(store, [RULE], "amd64", state, place)
        found = {str(file.relative_to(view.source)) for file in view.source.rglob("*") if file.is_file()}
        for name, data in writes.items():
            write(view.source / name, data)
        caches.let_go_of_changed([view])
        if ends_well:
            caches.keep_new(store, [RULE], "amd64", state, [view])
    return found


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:  # into the file that is there, as a download that goes on does
        file.write(data)


def test_lists_serve_one_state_of_the_repositories_and_packages_all(store: Store) -> None:
    first, second = state_of(b"one"), state_of(b"two")
    lists = {"f/repodata/repomd.xml": b"one", "f/repodata/primary": b"p", "f.solv": b"s"}
    assert stage(store, first, {**lists, "f/packages/a.rpm": b"a", "f/x.pid": b"1"}) == set()
    assert stage(store, first, {}) == {*lists, "f/packages/a.rpm"}
    assert stage(store, second, {}) == {"f/packages/a.rpm"}
    assert stage(store, state_of(b"one", b"more"), {}) == {"f/packages/a.rpm"}


def test_lists_of_a_mirror_that_has_moved_since_the_plan_are_not_kept(store: Store) -> None:
    planned = state_of(b"one")
    stage(store, planned, {"f/repodata/repomd.xml": b"two", "f/repodata/primary": b"p"})
    assert stage(store, planned, {}) == set()
    stage(store, planned, {"f/repodata/repomd.xml": b"one", "g/repodata/repomd.xml": b"unknown", "g/cookie": b"c"})
    assert stage(store, planned, {}) == {"f/repodata/repomd.xml"}


def test_nothing_of_a_failed_stage_is_kept_and_no_file_that_it_wrote_into(store: Store) -> None:
    state = state_of(b"one")
    stage(store, state, {"a.rpm": b"whole", "b.rpm": b"whole"})
    assert stage(store, state, {"a.rpm": b"half of it", "c.rpm": b"c"}, ends_well=False) == {"a.rpm", "b.rpm"}
    assert stage(store, state, {}) == {"b.rpm"}


def test_a_file_that_a_stage_put_in_the_place_of_another_one_is_kept(store: Store) -> None:
    state = state_of(b"one")
    stage(store, state, {"a.rpm": b"old"})
    with store.workplace() as place:
        (view,) = caches.open_views(store, [RULE], "amd64", state, place)
        (view.source / "new").write_bytes(b"new")
        (view.source / "new").rename(view.source / "a.rpm")
        caches.let_go_of_changed([view])
        assert (caches.shared(store, "dnf", "amd64") / "a.rpm").read_bytes() == b"old"
        caches.keep_new(store, [RULE], "amd64", state, [view])
    assert (caches.shared(store, "dnf", "amd64") / "a.rpm").read_bytes() == b"new"
