"""Why a stage failed, as far as its last lines tell: the mirror, or a program that the tree does not have."""

from __future__ import annotations

from collections.abc import Sequence

from stages.layers.interpreter import missing
from stages.plan.plan import Stage
from stages.protocol import events
from stages.repositories import mirror_errors
from stages.repositories.state import State


def failed(
    stage: Stage, status: int, tail: Sequence[str], repositories: Sequence[State] | None, base: str
) -> events.Failed:
    """The event that tells of a stage that ended with ``status`` and these last lines.

    ``repositories`` are those whose mirrors may have failed it, None where it was something else; ``base`` is the name
    of the image that it all began with.
    """
    cause = _cause(stage, status, tail, repositories, base)
    return events.Failed(
        number=stage.number,
        status=status,
        tail=list(tail),
        phase=stage.phase.name,
        element=stage.script.element,
        script=stage.name,
        **(dict(zip(("why", "hint"), cause, strict=True)) if cause else {}),
    )


def _cause(
    stage: Stage, status: int, tail: Sequence[str], repositories: Sequence[State] | None, base: str
) -> tuple[str, str] | None:
    """What is wrong and what to do, in a sentence each; None where nothing is known."""
    if stage.packages and repositories is not None:
        places = [state.mirrors[0] if state.mirrors else state.source for state in repositories]
        if fault := mirror_errors.explain(tail, places):
            return fault.what, fault.hint
    return missing(stage, status, list(tail), base=base)
