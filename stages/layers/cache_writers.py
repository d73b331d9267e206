"""Who may have written into a cache that no list vouches for: builds share it only where that is the same for all.

A script may prepare what a later one writes (a changed ``pip`` in the tree), so all stages up to the last that sees the
cache count, with what they run and are given. The states of repositories do not: a mirror or a branch that moves is
what such a cache is for. Nor does how the network is reached, if it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from blockdev.core.digest import digest
from stages.element.environment import SERVICES
from stages.plan.plan import Stage
from stages.repositories.source_state import pins

MOVES = ("repository ", "source ")  # how inputs begin that move without any script having changed
MOVING = frozenset({"below", "network", "variable SOURCE_DATE_EPOCH", *(f"variable {name}" for name in SERVICES)})


def writers(stages: Sequence[Stage], sees: Callable[[Stage], bool]) -> str:
    """A name for all that may have written into the cache that the stages for which ``sees`` holds see."""
    last = max((number for number, stage in enumerate(stages, 1) if sees(stage)), default=0)
    return digest(json.dumps([_own_inputs(stage) for stage in stages[:last]], sort_keys=True))[:24]


def _own_inputs(stage: Stage) -> dict[str, str]:
    pinned = {f"variable {name}" for name in pins(stage.sources)}
    return {
        name: value
        for name, value in stage.inputs.items()
        if name not in MOVING and name not in pinned and not name.startswith(MOVES)
    }
