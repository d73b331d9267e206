"""The stages of many images as one graph: which of them are the same ones, built once for all that have them.

A stage is the same one where its key is: that covers all that it can see, and the stages below it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from builder.progress.report import stage_title
from stages.protocol.events import PlannedStage


@dataclass
class Branch:
    """Stages that the same images have, one after another, and the branches above them."""

    images: list[str]
    stages: list[PlannedStage] = field(default_factory=list)
    above: list[Branch] = field(default_factory=list)


def branches(plans: Mapping[str, Sequence[PlannedStage]]) -> list[Branch]:
    """The graph of the plans by image: it is a forest, since a key covers what lies below."""
    return _grow(plans, list(plans), 0)


def _grow(plans: Mapping[str, Sequence[PlannedStage]], names: Sequence[str], depth: int) -> list[Branch]:
    groups: dict[str, list[str]] = {}
    for name in names:
        if depth < len(plans[name]):
            groups.setdefault(plans[name][depth].key, []).append(name)
    branches = []
    for group in groups.values():
        branch = Branch(group)
        at = depth
        while all(at < len(plans[name]) for name in group) and len({plans[name][at].key for name in group}) == 1:
            branch.stages.append(plans[group[0]][at])
            at += 1
        branch.above = _grow(plans, group, at)
        branches.append(branch)
    return branches


def counts(plans: Mapping[str, Sequence[PlannedStage]]) -> tuple[int, int, int]:
    """All stages of all images, the different ones among them, and those of these that are not in the cache."""
    keys: dict[str, bool] = {}
    total = 0
    for stages in plans.values():
        total += len(stages)
        keys |= {stage.key: stage.hit for stage in stages}
    return total, len(keys), sum(not hit for hit in keys.values())


def as_text(plans: Mapping[str, Sequence[PlannedStage]], *, whole: bool) -> str:
    """The graph for people: a line for each branch, or (``whole``) for each stage, under the images that share it."""
    total, different, missing = counts(plans)
    lines: list[str] = []
    for branch in branches(plans):
        _lines(branch, "", lines, whole=whole)
    share = f"{total} stages, {different} different ones: {total - different} are shared"
    plural = "" if len(plans) == 1 else "s"
    return "\n".join([*lines, f"{len(plans)} image{plural}, {share}, {missing} to run"])


def _lines(branch: Branch, indent: str, lines: list[str], *, whole: bool) -> None:
    missing = sum(not stage.hit for stage in branch.stages)
    first, last = (stage_title(stage) for stage in (branch.stages[0], branch.stages[-1]))
    reach = first if len(branch.stages) == 1 else f"{first} .. {last}"
    plural = "" if len(branch.stages) == 1 else "s"
    state = "all cached" if not missing else f"{missing} to run"
    lines.append(f"{indent}{', '.join(branch.images)}: {len(branch.stages)} stage{plural}, {state}  {reach}")
    if whole:
        lines.extend(
            f"{indent}  {stage.key[:12]}  {'hit ' if stage.hit else 'miss'}  {stage_title(stage)}"
            for stage in branch.stages
        )
    for upper in branch.above:
        _lines(upper, indent + "  ", lines, whole=whole)


def as_json(plans: Mapping[str, Sequence[PlannedStage]]) -> dict[str, Any]:
    """The graph for machines: the images' stages by key, and each stage with the images that have it."""
    stages: dict[str, dict[str, Any]] = {}
    for name, plan in plans.items():
        below = ""
        for stage in plan:
            record = stages.setdefault(
                stage.key,
                {"title": stage_title(stage), "below": below, "hit": stage.hit, "why": stage.why, "images": []},
            )
            record["images"].append(name)
            below = stage.key
    images = {name: [stage.key for stage in plan] for name, plan in plans.items()}
    return {"images": images, "stages": stages}
