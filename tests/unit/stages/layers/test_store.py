"""The layer store's records, locks, sweeping and pruning (mounting is tested with the engines)."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal
from pathlib import Path

from stages.layers.prune import prune
from stages.layers.store import BASE, Record, Store, record_sum
from stages.layers.sweep import sweep
from stages.outputs.verify_store import verify


def keep(store: Store, key: str, *, below: tuple[str, ...] = (), text: str = "x", empty: bool = False) -> Record:
    with store.workplace() as place:
        if not empty:
            (place.upper / "tree").mkdir()
            (place.upper / "tree" / "file").write_text(text)
        record = Record(key, "", below, (), {"script": key}, f"install/a/{key}", 1.0, 0.1, 0, "")
        return store.keep(place, record, f"place-{key}")


def test_a_kept_layer_is_found_with_its_inputs(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = keep(store, "k1")
    assert store.find("k1") == record
    assert record.parts == ("tree",)
    assert record.bytes > 0
    assert (tmp_path / "layers" / record.layer / "tree/file").read_text() == "x"
    assert store.last_inputs("place-k1") == {"script": "k1"}
    assert list((tmp_path / "work").iterdir()) == []


def test_a_stage_that_changed_nothing_has_no_layer(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = keep(store, "k1", empty=True)
    assert record.layer == ""
    assert record.chain() == ()
    assert store.find("k1") == record
    assert [path.name for path in (tmp_path / "layers").iterdir()] == [BASE]


def test_a_record_without_its_layer_or_with_half_its_text_is_a_miss(tmp_path: Path) -> None:
    store = Store(tmp_path)
    below = keep(store, "k1")
    keep(store, "k2", below=below.chain())
    store_file = tmp_path / "keys/k2.json"
    whole = store_file.read_text()
    for half in ("", whole[: len(whole) // 2], "{}", "[]"):
        store_file.write_text(half)
        assert store.find("k2") is None
    store_file.write_text(whole)
    assert store.find("k2") is not None
    (tmp_path / "layers" / below.layer).rename(tmp_path / "gone")
    assert store.find("k2") is None, "the layer below is gone"


def test_after_a_power_loss_only_what_was_synced_counts(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keep(store, "synced")
    keep(store, "unsynced")
    store.sync(["synced"])
    for key in ("synced", "unsynced"):
        file = tmp_path / f"keys/{key}.json"
        data = {**json.loads(file.read_text()), "boot": "an earlier boot"}
        del data["sum"]
        file.write_text(json.dumps({**data, "sum": record_sum(data)}))
    assert store.find("synced") is not None
    assert store.find("unsynced") is None
    again = keep(store, "synced", text="y")
    assert not (tmp_path / "synced" / "synced").exists(), "a layer made anew is not on the disk yet"
    assert store.find("synced") == again


def _die_at_work(root: Path) -> None:
    with Store(root).workplace() as place:
        (place.upper / "tree").mkdir()
        os.kill(os.getpid(), signal.SIGKILL)


def test_the_work_of_a_killed_build_is_swept_and_the_work_of_a_live_one_is_not(tmp_path: Path) -> None:
    child = multiprocessing.get_context("fork").Process(target=_die_at_work, args=(tmp_path,))
    child.start()
    child.join()
    store = Store(tmp_path)
    assert len(list((tmp_path / "work").iterdir())) == 2
    with store.workplace() as live:
        sweep(store)
        assert live.upper.is_dir()
        assert {path.name.removesuffix(".lock") for path in (tmp_path / "work").iterdir()} == {live.path.name}


def test_a_lock_is_seen_and_waited_for(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.lock("k") as waited:
        assert not waited
        assert store.is_locked("k")
    assert not store.is_locked("k")


def test_prune_takes_what_is_old_and_all_that_nothing_names(tmp_path: Path) -> None:
    store = Store(tmp_path)
    old, new = keep(store, "old"), keep(store, "new")
    keep(store, "empty", empty=True)
    os.utime(tmp_path / "keys/old.json", (1, 1))
    (tmp_path / "layers/orphan/tree").mkdir(parents=True)
    report = prune(store, older_than=3600, max_bytes=None, everything=False)
    assert report["records"] == 1
    assert report["layers"] == 2
    assert store.find("old") is None
    assert store.find("new") == new
    assert store.find("empty") is not None
    assert not (tmp_path / "layers" / old.layer).exists()
    assert verify(store) == ([], 0)


def test_prune_by_size_lets_the_oldest_go_first(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number in range(3):
        keep(store, f"k{number}", text="x" * 100_000)
        os.utime(tmp_path / f"keys/k{number}.json", (number + 1, number + 1))
    one = store.find("k2")
    assert one is not None
    prune(store, older_than=None, max_bytes=one.bytes, everything=False)
    assert [store.find(f"k{number}") is not None for number in range(3)] == [False, False, True]
    assert prune(store, older_than=None, max_bytes=None, everything=True)["records"] == 1


def test_verify_finds_a_layer_that_was_tampered_with(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = keep(store, "k1")
    assert verify(store) == ([], 0)
    file = tmp_path / "layers" / record.layer / "tree/file"
    status = file.stat()
    file.write_text("y")  # the content alone: length and times are as before
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    wrong, left = verify(store)
    assert "layer of install/a/k1: 1 file differs: /file; it is let go of" in wrong[0]
    assert (len(wrong), left) == (1, 1)
    assert store.find("k1") is None, "what fails is made again"
    assert verify(store) == ([], 1)


def test_a_record_in_which_a_bit_has_flipped_is_a_miss(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keep(store, "k1")
    file = tmp_path / "keys/k1.json"
    whole = file.read_bytes()
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert store.find("k1") is None, whole[place:]
    assert "record k1 is unusable" in verify(store)[0][0]
    assert not file.exists()


def test_a_layer_made_on_others_is_told_by_its_record(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = keep(store, "k1")
    second = keep(store, "k2", below=first.chain())
    assert second.chain() == (first.layer, second.layer)
    assert dataclasses.replace(second, layer="").chain() == (first.layer,)
