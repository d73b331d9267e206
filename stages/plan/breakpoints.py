"""Where a build stops for a shell: ``before:STAGE``, ``after:STAGE``, ``before-PHASE``, ``after-PHASE``, ``error``.

The points at a phase are diskimage-builder's (its variable ``break``): before its first script and after its last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stages.element.hooks import PHASES

if TYPE_CHECKING:
    from stages.plan.plan import Plan, Stage

ERROR = "error"
_WHENS = ("before", "after")
_NAMES = tuple(phase.name for phase in PHASES)
WANTED = f"before:STAGE, after:STAGE, before-PHASE or after-PHASE ({', '.join(_NAMES)}), error"


def is_point(text: str) -> bool:
    """Whether this names a point; whether there is such a stage is another question."""
    when, colon, stage = text.partition(":")
    if colon:
        return when in _WHENS and bool(stage)
    when, _, phase = text.partition("-")
    return text == ERROR or (when in _WHENS and phase in _NAMES)


def check(plan: Plan, points: Sequence[str]) -> list[str]:
    """Sentences on points at which this plan never stops; UsageError where one names no stage."""
    silent = []
    for point in points:
        _, colon, stage = point.partition(":")
        if colon:
            plan.find(stage)
        elif point != ERROR and not _of_phase(plan, point):
            silent.append(f"no script is in the phase of the break point {point}: the build does not stop there")
    return silent


def stops(plan: Plan, points: Sequence[str], when: str, stage: Stage) -> bool:
    """Whether the build stops before or after (``when``) this stage."""
    for point in points:
        moment, colon, name = point.partition(":")
        if colon:
            if moment == when and plan.find(name).number == stage.number:
                return True
        elif point != ERROR and point.startswith(f"{when}-"):
            stages = _of_phase(plan, point)
            if stages and stages[0 if when == "before" else -1].number == stage.number:
                return True
    return False


def _of_phase(plan: Plan, point: str) -> list[Stage]:
    phase = point.partition("-")[2]
    return [stage for stage in plan.stages if stage.phase.name == phase]
