"""Room on the store's disk: what counts as full, and who is told of it when it has room again."""

from __future__ import annotations

import errno
import time
from pathlib import Path

import pytest

from blockdev.core import disk_space
from blockdev.core.disk_space import DiskWatch, Room, disk_full, explained
from blockdev.core.errors import BuildError
from stages.layers.store import Store
from stages.outputs.artifact import MOST_LAYERS, lowest_merged

WIDE = Room(100 << 30, 200 << 30, 1 << 20, 1 << 21)
NO_ROOM = Room(15 << 20, 200 << 30, 1 << 20, 1 << 21)
NO_INODES = Room(100 << 30, 200 << 30, 60, 1 << 21)


@pytest.mark.parametrize(
    ("room", "full"),
    [
        (WIDE, False),
        (NO_ROOM, True),
        (NO_INODES, True),
        (Room(17 << 20, 200 << 30, 1 << 20, 1 << 21), False),
        (Room(1 << 20, 40 << 20, 9000, 10000), False),  # a small disk is full later
        (Room(0, 40 << 20, 9000, 10000), True),
        (Room(1 << 30, 2 << 30, 0, 0), False),  # a file system without a bound for inodes
    ],
)
def test_a_disk_is_full_before_nothing_is_left(room: Room, full: bool) -> None:
    assert room.is_full == full


def test_what_was_short_meanwhile_is_told_though_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms = [WIDE]
    monkeypatch.setattr(disk_space, "look", lambda _: rooms[-1])
    watch = DiskWatch(tmp_path)
    watch.start()
    watch.mark()
    assert watch.full() is None
    rooms.append(NO_INODES)
    deadline = time.monotonic() + 10
    while watch._lowest is None and time.monotonic() < deadline:
        time.sleep(0.01)
    rooms.append(WIDE)
    told = watch.full()
    assert told is not None
    assert "60 of 2097152 inodes free, by now it has room again" in told.what
    watch.mark()
    assert watch.full() is None, "another stage has nothing to do with it"
    assert watch.full(ever=True) is not None
    watch.stop()


def test_the_nearer_the_end_the_more_often_it_is_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for spare, most in ((200 << 30, 0.1), (300 << 20, 0.1), (30 << 20, 0.011), (1 << 20, 0.001)):
        monkeypatch.setattr(
            disk_space, "look", lambda _, spare=spare: Room(spare + (16 << 20), 200 << 30, 1 << 20, 1 << 21)
        )
        seconds = DiskWatch(tmp_path)._look()
        assert seconds <= most
        assert seconds * (3 << 30) <= max(spare, 4 << 20), "in that time nobody writes what is left"


@pytest.mark.parametrize(
    ("number", "word"),
    [(errno.ENOSPC, "is full ("), (errno.EDQUOT, "quota"), (errno.EROFS, "read-only"), (errno.EIO, "")],
)
def test_each_error_of_a_disk_has_its_sentence(tmp_path: Path, number: int, word: str) -> None:
    found = explained(tmp_path, OSError(number, "x"))
    assert (word in found.what and found.hint) if found else not word
    assert "cache prune" in disk_full(tmp_path).hint


def test_a_store_that_knows_no_case_is_refused(tmp_path: Path) -> None:
    Store(tmp_path)
    (tmp_path / "LAYERS").mkdir()  # as a file system says that takes it for the same name
    with pytest.raises(BuildError, match="upper and lower case"):
        Store(tmp_path)


def test_the_lowest_layers_are_merged_where_there_are_too_many() -> None:
    for stages in range(700):
        merged = lowest_merged(stages)
        layers = (1 if merged else 0) + stages - merged + 1  # and that of the contents
        assert layers <= MOST_LAYERS
        assert merged == 0 or layers == MOST_LAYERS
        assert merged != 1
