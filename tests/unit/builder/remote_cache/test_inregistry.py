"""A cache's index in a registry: writers who come between each other, on a clock that only they move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from builder.registry.client import TransientError
from builder.registry.push import Reference
from builder.remote_cache import registry
from builder.remote_cache.index import IndexEntry, read_index, write_index
from builder.remote_cache.registry import InRegistry
from tests.unit.builder.remote_cache.test_layercache import entry

READING, WRITING = 0.1, 0.3  # seconds that a registry takes for it


class Slow(InRegistry):
    """A registry that takes its time, during which others do what they have planned for that moment."""

    def __init__(self) -> None:
        super().__init__(Reference("localhost:1", "cache", "x"), insecure=True, authfile=None)
        self.now = 0.0
        self.listed: list[IndexEntry] = []
        self.others: list[tuple[float, Callable[[], None]]] = []
        self.writes = 0

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        due, self.others = (
            [each for each in self.others if each[0] <= self.now],
            [each for each in self.others if each[0] > self.now],
        )
        for _, act in due:
            act()

    def index(self) -> bytes:
        """See Place."""
        self.wait(READING)
        return write_index(self.listed)

    def _put_index(self, data: bytes) -> None:
        self.wait(WRITING)
        self.writes += 1
        self.listed = read_index(data)

    def overwrite(self, seconds: float, listed: list[IndexEntry]) -> None:
        """Somebody who has read the index before will have written it without what came meanwhile."""

        def act() -> None:
            self.listed = list(listed)

        self.others.append((self.now + seconds, act))


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    made = Slow()
    monkeypatch.setattr(registry, "monotonic", lambda: made.now)
    monkeypatch.setattr(registry, "pause", made.wait)
    return made


def add(place: Slow, new: IndexEntry) -> None:
    place.change_index(lambda data: write_index([*read_index(data), new]), [new.digest])


@pytest.mark.parametrize("times", [1.1, 2.0, 3.0, 4.5])
def test_who_took_several_times_as_long_does_not_take_entries_away(slow: Slow, times: float) -> None:
    theirs, ours = entry(1), entry(2)
    slow.overwrite(times * (READING + WRITING), [theirs])
    add(slow, ours)
    assert {each.key for each in slow.listed} == {theirs.key, ours.key}
    assert slow.writes == 2


def test_nobody_else_is_waited_for_a_moment_only(slow: Slow) -> None:
    add(slow, entry(1))
    assert slow.writes == 1
    assert slow.now <= (READING + WRITING) * (1 + registry.SLOWER) + READING + 1e-9


def test_a_slow_registry_is_not_waited_for_longer(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.unit.builder.remote_cache.test_inregistry.WRITING", 100.0)
    add(slow, entry(1))
    assert slow.now <= READING + 100.0 + registry.AT_MOST + READING


def test_what_is_there_is_not_written(slow: Slow) -> None:
    slow.change_index(lambda _: None, [])
    assert slow.writes == 0


def test_it_is_given_up_where_others_always_come_between(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(data: bytes) -> None:
        slow.listed = [replace(each, used=0.0) for each in read_index(data) if each.key != entry(2).key]

    monkeypatch.setattr(slow, "_put_index", lose)
    with pytest.raises(TransientError, match="too many others"):
        add(slow, entry(2))
