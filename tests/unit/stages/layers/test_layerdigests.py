"""Layers are what was kept: every change to what a layer holds is found, whatever the size and times say."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.layers import layer_digests
from stages.layers.digest_list import DigestList, list_folder
from stages.layers.layer_digests import DamagedError, LayerDigests
from stages.layers.store import Record, Store
from stages.outputs.verify_store import let_go_of_damaged, verify
from tests.examples import examples

SMALL, LARGE = b"little" * 9, os.urandom(64 << 10) * 40  # below and above what is read at once


def keep(store: Store, key: str, below: tuple[str, ...] = (), data: bytes = SMALL) -> Record:
    with store.workplace() as place:
        tree = place.upper / "tree"
        (tree / "folder").mkdir(parents=True)
        (tree / "file").write_bytes(data)
        os.link(tree / "file", tree / "hard")
        (tree / "folder/other").write_bytes(b"other")
        (tree / "link").symlink_to("file")
        os.mkfifo(tree / "pipe")
        os.setxattr(tree / "folder", "user.note", b"\0\xff")
        record = Record(key, "", below, (), {"script": key}, f"install/a/{key}", 1.0, 0.1, 0, "")
        return store.keep(place, record, f"place-{key}")


def flip(file: Path, place: int) -> None:
    """One bit, with size and time as before: a bad disk."""
    was = file.stat()
    with file.open("r+b") as data:
        data.seek(place)
        byte = data.read(1)[0]
        data.seek(place)
        data.write(bytes([byte ^ 1 << place % 8]))
    os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))


def fails(root: Path, *layers: str) -> list[str]:
    """What another process would say of these layers."""
    with pytest.raises(DamagedError) as caught:
        LayerDigests(root).require(layers)
    return [f"{damage.layer} {damage}" for damage in caught.value.damages]


@settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0), where=st.sampled_from(["file", "folder/other"]), large=st.booleans())
def test_each_flipped_bit_is_found(tmp_path: Path, place: int, where: str, large: bool) -> None:
    root = tmp_path / str(time.monotonic_ns())
    root.mkdir()
    store = Store(root)
    record = keep(store, "k1", data=LARGE if large else SMALL)
    store.digests.finish()
    LayerDigests(root).require([record.layer])
    file = root / "layers" / record.layer / "tree" / where
    flip(file, place % file.stat().st_size)
    named = "/file" if where == "file" else "/folder/other"
    assert fails(root, record.layer) == [f"{record.layer} 1 file differs: {named}"]
    shutil.rmtree(root)


CHANGES: dict[str, Callable[[Path], object]] = {
    "mode": lambda tree: (tree / "file").chmod(0o600),
    "time": lambda tree: os.utime(tree / "file", ns=(0, 1)),
    "time of a link": lambda tree: os.utime(tree / "link", ns=(0, 1), follow_symlinks=False),
    "size": lambda tree: (tree / "file").write_bytes(b"other"),
    "target of a link": lambda tree: subprocess.run(["ln", "-sfn", "elsewhere", tree / "link"], check=True),
    "attribute": lambda tree: os.setxattr(tree / "folder", "user.note", b"\0\xfe"),
    "attribute gone": lambda tree: os.removexattr(tree / "folder", "user.note"),
    "gone": lambda tree: (tree / "folder/other").unlink(),
    "more": lambda tree: (tree / "folder/more").mkdir(),
    "another kind": lambda tree: Path(shutil.copy(tree / "folder/other", tree / "new")).rename(tree / "pipe"),
    "no hard link": lambda tree: (shutil.copy2(tree / "file", tree / "x"), (tree / "x").rename(tree / "hard")),
    "all of it gone": lambda tree: shutil.rmtree(tree.parent),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_other_change_is_found(tmp_path: Path, change: str) -> None:
    store = Store(tmp_path)
    record = keep(store, "k1")
    tree = tmp_path / "layers" / record.layer / "tree"
    times = [(path, path.stat()) for path in (tree, tree / "folder")]
    CHANGES[change](tree)
    for path, was in times if tree.exists() else ():
        os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert fails(tmp_path, record.layer)


def test_a_flipped_bit_of_a_list_is_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = keep(store, "k1")
    kept = (tmp_path / "digests" / record.layer).read_bytes()
    for place in range(0, len(kept), 7):
        assert DigestList.decode(kept[:place] + bytes([kept[place] ^ 4]) + kept[place + 1 :]) is None
    (tmp_path / "digests" / record.layer).write_bytes(kept[:-3])
    assert "list of digests cannot be read" in fails(tmp_path, record.layer)[0]


def test_a_copy_has_the_same_digest_whatever_the_order_of_its_making(tmp_path: Path) -> None:
    layer = tmp_path / "layers" / keep(Store(tmp_path), "k1").layer
    subprocess.run(["cp", "-a", layer, tmp_path / "copy"], check=True)
    assert list_folder(str(tmp_path / "copy")) == list_folder(str(layer))


def test_a_layer_that_fails_goes_with_all_that_lies_on_it_and_nothing_else(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = keep(store, "k1")
    bad = keep(store, "k2", first.chain())
    keep(store, "k3", bad.chain())
    other = keep(store, "k4", first.chain())
    flip(tmp_path / "layers" / bad.layer / "tree/file", 3)
    with pytest.raises(DamagedError) as caught:
        LayerDigests(tmp_path).require(bad.chain())
    assert let_go_of_damaged(store, caught.value.damages) == ["the layer of install/a/k2: 1 file differs: /file"]
    assert [store.find(key) is not None for key in ("k1", "k2", "k3", "k4")] == [True, False, False, True]
    again = keep(store, "k2", first.chain())
    assert store.find("k2") == again
    LayerDigests(tmp_path).require([*again.chain(), other.layer])
    assert verify(store)[0] == []


def _dies_while_making(root: Path) -> int:
    """Keep a large layer in another process, which is killed before its digests are there; its layer's record stays."""
    code = (
        "import sys, time; from pathlib import Path\n"
        "from stages.layers import layer_digests; from tests.unit.stages.layers.test_layerdigests import keep, LARGE\n"
        "from stages.layers.store import Store\n"
        "layer_digests._run = lambda *a, **k: time.sleep(99)\n"
        "keep(Store(Path(sys.argv[1])), 'k1', data=LARGE); print('kept', flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(root)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "kept\n"
        process.send_signal(signal.SIGKILL)
    return process.wait()


def test_a_layer_whose_digests_never_came_does_not_count(tmp_path: Path) -> None:
    Store(tmp_path)
    assert _dies_while_making(tmp_path) == -signal.SIGKILL
    assert (tmp_path / "keys/k1.json").exists()
    assert Store(tmp_path).find("k1") is None


def test_who_wants_a_layer_waits_for_its_digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = layer_digests._run

    def slowly(*arguments: object, **more: object) -> None:
        time.sleep(0.3)
        really(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(layer_digests, "_run", slowly)
    store = Store(tmp_path)
    record = keep(store, "k1", data=LARGE)
    assert store.find("k1") == record, "this build made it, and need not wait"
    assert not (tmp_path / "digests" / record.layer).stat().st_size
    started = time.monotonic()
    assert Store(tmp_path).find("k1") == record
    assert time.monotonic() - started > 0.1
    store.sync(["k1"])
    assert (tmp_path / "synced/k1").exists()


def test_digests_that_cannot_be_written_are_told_and_the_layer_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(layer_digests, "_run", full)
    store = Store(tmp_path)
    keep(store, "k1", data=LARGE)
    with pytest.raises(OSError, match="No space"):
        store.sync(["k1"])
    assert not (tmp_path / "synced/k1").exists()
    assert Store(tmp_path).find("k1") is None
