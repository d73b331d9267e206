"""Which engine "auto" takes, and for how long it keeps to one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from blockdev.core.errors import BuildError
from builder import engines
from builder.engines import probe_container
from builder.engines.host import Host
from builder.engines.protocol import StoreError


class Probed:
    """An engine that works or does not."""

    def __init__(self, name: str, broken: set[str], probes: list[str]) -> None:
        self.name, self._broken, self._probes = name, broken, probes

    def probe(self) -> None:
        self._probes.append(self.name)
        if self.name in self._broken:
            raise BuildError(f"{self.name} is broken")


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found = [1_000_000.0]
    monkeypatch.setattr(time, "time", lambda: found[0])
    return found


def test_an_engine_that_was_busy_once_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, now: list[float]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    broken, probes = {"first"}, list[str]()
    made: dict[str, Any] = {name: lambda name=name: Probed(name, broken, probes) for name in ("first", "second")}
    monkeypatch.setattr(engines, "ADAPTERS", made)
    assert engines.select().name == "second"
    broken.clear()
    probes.clear()
    assert engines.select().name == "second"
    assert probes == ["second"], "what works is taken again, and nothing else asked"
    now[0] += engines.AGAIN
    assert engines.select().name == "first"
    now[0] += 10 * engines.AGAIN
    probes.clear()
    assert engines.select().name == "first"
    assert probes == ["first"]
    broken.add("first")
    assert engines.select().name == "second"
    broken.add("second")
    with pytest.raises(BuildError, match="second is broken"):
        engines.select()


def test_an_engine_whose_store_fails_is_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another engine has another store: what is kept in this one would be missed, and nobody told why."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    probes = list[str]()

    class Full(Probed):
        def probe(self) -> None:
            raise StoreError(self.name, "the disk that holds the store is full", "")

    made: dict[str, Any] = {
        "first": lambda: Full("first", set(), probes),
        "second": lambda: Probed("second", set(), probes),
    }
    monkeypatch.setattr(engines, "ADAPTERS", made)
    with pytest.raises(StoreError, match="full"):
        engines.select()
    assert probes == []


@pytest.mark.parametrize(("said", "what"), probe_container.DISKS.items())
def test_a_trial_blames_the_disk_for_what_the_disk_does(said: str, what: str) -> None:
    lines = f"dib-ctr-trial: root is 100000\ndib-ctr-trial: store: {said}\n"
    with pytest.raises(StoreError) as caught:
        probe_container.succeeded(Host(), lines)
    assert caught.value.what == what


@pytest.mark.parametrize(
    ("said", "good"),
    [
        ("dib-ctr-trial: good", True),
        ("dib-ctr-trial: store: Permission denied", False),
        ("mount: permission denied", False),
        ("", False),
    ],
)
def test_a_trial_blames_the_engine_for_the_rest(said: str, good: bool) -> None:
    assert probe_container.succeeded(Host(), said) is good
