"""Points at which a build stops: which are any, and where they lie in a plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from blockdev.core.errors import UsageError
from stages.plan import breakpoints
from tests.unit.stages.plan.plan_cases import BASE, plan_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("error", True),
        ("before:1", True),
        ("after:install/a", True),
        ("before-install", True),
        ("after-pre-finalise", True),
        ("before:", False),
        ("during:a", False),
        ("during-install", False),
        ("before-instal", False),
        ("after-error", False),
        ("", False),
    ],
)
def test_points(text: str, *, expected: bool) -> None:
    assert breakpoints.is_point(text) is expected


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ("before-install", [("before", "50-see")]),
        ("after-install", [("after", "60-last")]),
        ("after-root", [("after", "prepare-tree")]),
        ("before:60-last", [("before", "60-last")]),
        ("before-post-install", []),
        ("error", []),
    ],
)
def test_where_they_lie(tmp_path: Path, point: str, expected: list[tuple[str, str]]) -> None:
    plan = plan_of(tmp_path, BASE)
    found = [
        (when, stage.name)
        for stage in plan.stages
        for when in ("before", "after")
        if breakpoints.stops(plan, [point], when, stage)
    ]
    assert found == expected


def test_a_phase_without_scripts_is_told_and_a_wrong_stage_refused(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, BASE)
    assert breakpoints.check(plan, ["error", "before-install", "after:50-see"]) == []
    (sentence,) = breakpoints.check(plan, ["before-post-install"])
    assert "before-post-install" in sentence
    with pytest.raises(UsageError, match="no stage is called 'nowhere'"):
        breakpoints.check(plan, ["before:nowhere"])
