"""Bounds of a stage: what settings mean, and what is told of one that was passed."""

from __future__ import annotations

import pytest

from blockdev.core.errors import UsageError
from builder.request.limits import settings
from stages.sandbox import limits
from stages.sandbox.limits import Limits, Use, Watch, parse_memory, parse_processes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8G", 8 << 30),
        ("512m", 512 << 20),
        ("1GiB", 1 << 30),
        ("4096", 4096),
        ("50%", 500),
        ("none", 0),
        ("2TB", 2 << 40),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    assert parse_memory(text, 1000) == expected


@pytest.mark.parametrize("text", ["", "0", "G", "-1G", "0%", "101%", "1.5G", "8 G", "\u0662G", "8G\n", "all"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError):
        parse_memory(text, 1000)


@pytest.mark.parametrize("text", ["", "0", "-1", "many", "1e3", "1 "])
def test_no_numbers(text: str) -> None:
    with pytest.raises(ValueError):
        parse_processes(text)


def test_the_usual_bounds() -> None:
    found = limits.of({})
    assert found.processes == 8192
    assert found.memory == limits.total_memory() * 90 // 100
    assert limits.of({"DIB_CTR_PROCESSES": "none", "DIB_CTR_MEMORY": "none"}) == Limits(0, 0)


def test_the_host_checks_settings_and_hands_them_on() -> None:
    given = {"DIB_CTR_PROCESSES": "100", "DIB_CTR_MEMORY": "50%", "DIB_CTR_STORE": "x"}
    assert settings(given) == {"DIB_CTR_PROCESSES": "100", "DIB_CTR_MEMORY": "50%"}
    for name in given.keys() - {"DIB_CTR_STORE"}:
        with pytest.raises(UsageError) as refused:
            settings({name: "lots"})
        assert refused.value.exit_status == 2
        assert name in str(refused.value)


@pytest.mark.parametrize(
    ("use", "sure", "said"),
    [
        (Use(10, 50, ()), 50, ""),
        (Use(20, 50, ()), 50, "DIB_CTR_PROCESSES"),
        (Use(10, 2 << 20, ()), 2 << 20, "DIB_CTR_MEMORY"),
        (Use(10, 2 << 20, ()), 1 << 19, ""),  # shared pages were counted for each
    ],
)
def test_what_passed_is_told(use: Use, sure: int, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "look", lambda: use)
    monkeypatch.setattr(limits, "exactly", lambda _: sure)
    monkeypatch.setattr(limits, "_meminfo", lambda _: 0)
    sentence = Watch(Limits(20, 1 << 20)).passed()
    assert (said in sentence) if said else not sentence


def test_a_look_costs_little_while_nothing_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    def look() -> Use:
        looks.append(1)
        return Use(1, 1, ())

    monkeypatch.setattr(limits, "look", look)
    watch = Watch(Limits(100, 1 << 40))
    for _ in range(1000):
        watch.passed()
    assert len(looks) == 1
