"""Comparing two answers: equal, or different for a reason that is on the list (``differences.yaml``).

A reason is a function: from an example and diskimage-builder's answer to what dib-ctr answers instead, or None where
the reason does not apply. So it excuses one thing, and all else of the two answers must still be equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Example = Mapping[str, Any]
Answer = dict[str, Any]
Reason = Callable[[Example, Answer], Answer | None]

FILE = Path(__file__).with_name("differences.yaml")
REFUSED: Answer = {"refused": True}
QUICK, WHOLE = 200, 2000  # examples of all areas together: at every push, and every night
# How a difference stands: it stays so, or somebody is to mend it.
ACCEPTED, TO_BE_MENDED = "accepted", "to be mended"


class Anything:
    """What a reason says of a part of an answer that it does not foretell; of a whole one: ``UNFORETOLD``."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


class AtLeast:
    """A list of names that may be longer."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = frozenset(names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, list) and self.names <= {*other}

    __hash__ = None  # type: ignore[assignment]


ANYTHING = Anything()
UNFORETOLD: Answer = {"unforetold": True}


@dataclass(frozen=True)
class Difference:
    """One entry of the list: ``example`` shows it, ``there`` and ``here`` say what the two do."""

    name: str
    area: str
    state: str
    there: str
    here: str
    why: str
    example: Example


def listed() -> tuple[Difference, ...]:
    """All differences that are known."""
    return tuple(Difference(**entry) for entry in yaml.safe_load(FILE.read_text(encoding="utf-8")))


def plain(answer: Mapping[str, Any]) -> Answer:
    """An answer without what is for people: why something was refused."""
    return dict(REFUSED) if "refused" in answer else dict(answer)


def explained(example: Example, theirs: Answer, ours: Answer, reasons: Mapping[str, Reason]) -> Sequence[str] | None:
    """The names of the reasons for which the two answers differ (none: they are equal); None where it is not known."""
    if "any" in theirs:  # chance decides there: one of the answers is enough
        told = [explained(example, answer, ours, reasons) for answer in theirs["any"]]
        return min((found for found in told if found is not None), key=len, default=None)
    theirs, ours = plain(theirs), plain(ours)
    if theirs == ours:
        return []
    # One alone first: most differences have one reason, and that one is then told.
    for name, reason in reasons.items():
        if _fits(reason(example, dict(theirs)), ours):
            return [name]
    found: list[str] = []
    answer = theirs
    for name, reason in reasons.items():
        instead = reason(example, dict(answer))
        if instead is not None and "refused" not in instead:
            answer, found = instead, [*found, name]
            if _fits(answer, ours):
                return found
    return None


def _fits(instead: Answer | None, ours: Answer) -> bool:
    return instead is not None and (instead is UNFORETOLD or plain(instead) == ours)
