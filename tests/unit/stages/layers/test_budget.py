"""How large a store may be: shares of the disk, a setting, and what a build does about it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from blockdev.core.errors import UsageError
from builder.progress.report import closing
from builder.request.store_size import VARIABLE, bounds
from stages.layers import budget
from stages.layers.budget import Disk, keep_within, limit, make_room
from stages.layers.store import Store
from stages.protocol.events import End
from tests.unit.stages.layers.test_pins import keep

GB = 10**9


@pytest.mark.parametrize(
    ("disk", "held", "expected"),
    [
        (Disk(1000 * GB, 800 * GB), 10 * GB, 200 * GB),  # a fifth of the disk
        (Disk(1000 * GB, 50 * GB), 150 * GB, 100 * GB),  # a tenth is to stay free
        (Disk(1000 * GB, 1 * GB), 10 * GB, 50 * GB),  # others have filled it: a twentieth may stay
        (Disk(4 * GB, 3 * GB), 0, 2 * GB),  # a small disk
    ],
)
def test_the_limit_is_a_share_of_the_disk_of_which_a_part_stays_free(disk: Disk, held: int, expected: int) -> None:
    assert limit(disk, "", held) == expected
    assert limit(disk, "unlimited", held) is None
    assert limit(disk, "123", held) == 123


def test_a_setting_that_is_no_size_is_refused_before_any_work() -> None:
    assert bounds({}) == {}
    for text, expected in (("20G", str(20 * GB)), ("unlimited", "unlimited")):
        assert bounds({VARIABLE: text}) == {"store_size": expected}
    for text in ("much", "-1", "20 GiB"):
        with pytest.raises(UsageError, match="not the size of a store"):
            bounds({VARIABLE: text})


def test_a_build_that_made_the_store_too_large_lets_the_oldest_go_and_keeps_its_own(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number in range(4):
        keep(store, f"old{number}", size=100_000)
        os.utime(tmp_path / f"keys/old{number}.json", (1, 1))
    with store.in_use():
        keep(store, "mine", size=100_000)
        freed = keep_within(store, "250000", store.free()[0] + 100_000)
        assert 300_000 < freed < 500_000
        assert store.find("mine")
    assert sum(bool(store.look(f"old{number}")) for number in range(4)) <= 1
    assert keep_within(store, "250000", store.free()[0] + 1) == 0, "nothing more is to go"


def test_the_store_is_not_looked_at_while_its_note_says_that_all_is_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    keep(store, "k1", size=100_000)
    assert keep_within(store, "", store.free()[0] + 1) == 0  # (counts it)
    monkeypatch.setattr("stages.layers.retention.list_items", lambda *_: pytest.fail("it was counted again"))
    assert keep_within(store, "", store.free()[0] + 1) == 0
    assert keep_within(store, "unlimited", store.free()[0] + 10**15) == 0


def test_room_is_made_before_a_stage_where_the_disk_is_nearly_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    keep(store, "old", size=100_000)
    assert make_room(store, {}) == 0
    monkeypatch.setattr(budget.Disk, "of", lambda _: Disk(1_000_000, 1000))
    assert make_room(store, {"store_size": "unlimited"}) == 0
    with store.in_use():
        keep(store, "mine", size=100_000)
        assert make_room(store, {}) > 100_000
        assert store.find("mine")
    assert not store.look("old")


def test_a_build_says_in_its_last_line_what_went() -> None:
    end = End(hits=3, misses=1, seconds=2.0, tree="")
    assert "let go" not in closing(end, [], [])
    assert closing(end.replace(pruned=3_200_000_000), [], []).endswith(
        "in 2.0 s; the store let go of 3.2 GB that no recent build used"
    )
