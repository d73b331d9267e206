"""Cleaning a store beside builds: what they have pinned stays, whatever happens at the same time."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockdev.core import locks
from stages.layers import pins
from stages.layers.prune import let_go, prune
from stages.layers.retention import Item, Wish, choose
from stages.layers.store import Record, Store
from stages.layers.sweep import sweep
from stages.outputs.verify_store import verify
from tests.examples import examples


def keep(store: Store, key: str, below: tuple[str, ...] = (), size: int = 10) -> Record:
    with store.workplace() as place:
        (place.upper / "tree").mkdir()
        (place.upper / "tree/file").write_text("x" * size)
        return store.keep(place, Record(key, "", below, (), {}, key, 1.0, 0.1, 0, ""), key)


def output(store: Store, key: str) -> Path:
    folder = store.root / "outputs" / key
    folder.mkdir()
    (folder / "artifact").write_text("x" * 5000)
    return folder


def test_what_a_build_has_found_stays_until_it_ends_and_not_longer(tmp_path: Path) -> None:
    build, cleaner = Store(tmp_path), Store(tmp_path)
    first = keep(build, "k1")
    keep(build, "k2", first.chain())
    keep(build, "other")
    with build.in_use():
        assert build.find("k2")
        own = keep(build, "k3", first.chain())
        build.pin("outputs/wanted")
        folder = output(build, "wanted")
        done = prune(cleaner, older_than=None, max_bytes=0, everything=True)
        assert (done["records"], done["outputs"]) == (1, 0), "k1's layer is in the chain of k2"
        assert build.find("k2") and build.find("k3") == own
        assert folder.is_dir()
        assert not build.find("other")
    assert list((tmp_path / "pins").iterdir()) == [tmp_path / "pins" / pins.GATE]
    prune(cleaner, older_than=None, max_bytes=None, everything=True)
    assert not build.find("k2") and not folder.exists()
    assert [path.name for path in (tmp_path / "layers").iterdir()] == ["base"]


def test_cleaning_waits_for_no_build_and_builds_for_no_cleaning(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.in_use(), Store(tmp_path).in_use():
        begun = time.monotonic()
        prune(Store(tmp_path), older_than=None, max_bytes=0, everything=False)
        assert time.monotonic() - begun < 5


def test_what_is_lent_stays_for_who_takes_it_over_and_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, later = Store(tmp_path), Store(tmp_path)
    record = keep(store, "k1")
    with store.in_use():
        lent = store.lend(f"layers/{record.layer}", "outputs/o")
        folder = output(store, "o")
    prune(store, older_than=None, max_bytes=0, everything=True)
    assert folder.is_dir() and later.look("k1")
    with later.in_use():
        later.take_over(lent, "outputs/o")
        prune(store, older_than=None, max_bytes=0, everything=True)
        assert folder.is_dir() and not later.look("k1")
    with store.in_use():
        store.lend("outputs/o")
    monkeypatch.setattr(pins, "_now", lambda: time.clock_gettime(time.CLOCK_BOOTTIME) + pins.LEASE + 1)
    prune(store, older_than=None, max_bytes=0, everything=True)
    assert not folder.exists()
    assert list((tmp_path / "pins").iterdir()) == [tmp_path / "pins" / pins.GATE]


def test_an_output_that_two_builds_want_goes_with_the_last_of_them(tmp_path: Path) -> None:
    one, other = Store(tmp_path), Store(tmp_path)
    folder = output(one, "o")
    with one.in_use():
        one.pin("outputs/o")
        with other.in_use():
            other.pin("outputs/o")
            let_go(one, ["outputs/o"])
            assert folder.is_dir()
        let_go(one, ["outputs/o"])
        assert not folder.exists()


def _work(root: Path, seed: int, failures: multiprocessing.Queue[str]) -> None:
    chance = random.Random(seed)
    for number in range(25):
        store = Store(root)
        with store.in_use():
            sweep(store)
            chain: tuple[str, ...] = ()
            for stage in range(chance.randrange(1, 5)):
                key = f"k{chance.randrange(3)}-{stage}"
                with store.lock(key):
                    record = store.find(key)
                    if record is None or record.below != chain:
                        record = keep(store, key, chain)
                chain = record.chain()
            if missing := [layer for layer in chain if not (root / "layers" / layer / "tree/file").is_file()]:
                failures.put(f"build {seed}, round {number}: {missing} are gone")


def test_many_builds_beside_many_cleanings_never_lose_a_layer(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    failures: multiprocessing.Queue[str] = context.Queue()
    builds = [context.Process(target=_work, args=(tmp_path, seed, failures)) for seed in range(4)]
    Store(tmp_path)
    for build in builds:
        build.start()
    while any(build.is_alive() for build in builds):
        prune(Store(tmp_path), older_than=None, max_bytes=random.choice((0, 5000)), everything=False)
    assert [build.exitcode for build in builds] == [0] * 4
    assert failures.empty(), failures.get()
    prune(Store(tmp_path), older_than=None, max_bytes=None, everything=False)
    assert verify(Store(tmp_path)) == ([], 0)


def _die(root: Path) -> None:
    store = Store(root)
    with store.in_use(), store.lock("some"), store.workplace() as place:
        store.pin("sessions/mine")
        (root / "sessions/mine").mkdir()
        (place.upper / "tree").mkdir()
        locks.take(root / "work/0123.part")
        (root / "work/lockless").mkdir()
        os.kill(os.getpid(), signal.SIGKILL)


def test_all_that_a_killed_build_leaves_is_swept(tmp_path: Path) -> None:
    Store(tmp_path)
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    child = multiprocessing.get_context("fork").Process(target=_die, args=(tmp_path,))
    child.start()
    child.join()
    assert sum(1 for _ in (tmp_path / "work").iterdir()) == 4
    sweep(Store(tmp_path))
    after = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.name != pins.GATE)
    assert after == before


def test_a_lock_leaves_no_file_and_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    store, holders, most = Store(tmp_path), [0], [0]

    def hold() -> None:
        for _ in range(50):
            with store.lock("k"):
                holders[0] += 1
                most[0] = max(most[0], holders[0])
                holders[0] -= 1

    threads = [threading.Thread(target=hold) for _ in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        sweep(store)
    assert most == [1]
    assert list((tmp_path / "locks").iterdir()) == []


def test_a_full_disk_can_be_cleaned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    keep(store, "k1")
    output(store, "o")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("mkdir", "write_text", "touch"):
        monkeypatch.setattr(Path, name, full)
    cleaner = Store.__new__(Store)
    cleaner.__dict__.update(store.__dict__)
    done = prune(cleaner, older_than=None, max_bytes=0, everything=False)
    assert (done["records"], done["layers"], done["outputs"]) == (1, 1, 1)


# -- in which order ----------------------------------------------------------------------------------------------

HOUR = 3600.0
items = st.lists(
    st.tuples(st.integers(1, 10**9), st.floats(0, 1e7), st.floats(0, 1e4), st.integers(-1, 30), st.booleans()),
    max_size=30,
)


def as_items(rows: list[tuple[int, float, float, int, bool]]) -> tuple[list[Item], set[str]]:
    """Items, some on top of an earlier one's whole chain, as layers are; and the pinned ones."""
    found: list[Item] = []
    for number, (size, age, seconds, below, _) in enumerate(rows):
        parent = found[below] if 0 <= below < number else None
        on = (*parent.stands_on, parent.name) if parent else ()
        found.append(Item(f"keys/{number}", (), size, 1e9 - age, seconds, on))
    return found, {f"keys/{number}" for number, row in enumerate(rows) if row[4]}


@given(items, st.integers(0, 10**10))
@settings(max_examples=examples(200), deadline=None)
def test_a_bound_is_kept_and_nothing_goes_that_is_needed_or_stood_on(
    rows: list[tuple[int, float, float, int, bool]], bound: int
) -> None:
    things, needed = as_items(rows)
    needed |= {name for thing in things if thing.name in needed for name in thing.stands_on}  # a build pins its chain
    going = choose(things, needed, Wish(max_bytes=bound), 1e9)
    names = [thing.name for thing in going]
    assert len(set(names)) == len(names)
    assert not needed.intersection(names)
    left = [thing for thing in things if thing.name not in names]
    assert not any(set(thing.stands_on).intersection(names) for thing in left)
    held = sum(thing.bytes for thing in left)
    assert held <= bound or {thing.name for thing in left} == needed
    if going:
        assert held + going[-1].bytes > bound, "no more goes than must"


def test_the_oldest_goes_first_and_of_equal_ones_the_cheapest() -> None:
    now = 1e9
    new_cheap = Item("keys/new-cheap", (), 100, now - 60, 0.1)
    new_dear = Item("keys/new-dear", (), 100, now - 300, 900.0)
    old_dear = Item("keys/old-dear", (), 100, now - 90 * 24 * HOUR, 900.0)
    going = choose([new_dear, new_cheap, old_dear], (), Wish(max_bytes=0), now)
    assert [item.name for item in going] == ["keys/old-dear", "keys/new-cheap", "keys/new-dear"]


def test_a_record_that_was_cut_short_goes_in_any_cleaning(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keep(store, "k1")
    (tmp_path / "keys/k1.json").write_text(json.dumps({"key": "k1"}))
    assert prune(store, older_than=None, max_bytes=None, everything=False)["layers"] == 1
    assert list((tmp_path / "keys").iterdir()) == []


def test_lists_of_digests_that_are_being_written_stay_and_a_dead_ones_go(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = keep(store, "k1")
    with store.digests.hidden("check") as answer:
        prune(Store(tmp_path), older_than=None, max_bytes=None, everything=False)
        assert answer.exists()
    (tmp_path / "digests/.dead.0123").touch()
    (tmp_path / "digests/gone").touch()
    prune(store, older_than=None, max_bytes=None, everything=False)
    assert [path.name for path in (tmp_path / "digests").iterdir()] == [record.layer]
