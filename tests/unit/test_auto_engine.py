"""Which engine "auto" takes, and for how long it keeps to one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from builder import engines
from stages.errors import BuildError


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
