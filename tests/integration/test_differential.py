"""diskimage-builder itself and dib-ctr say the same of the same input, or differ for a reason on the list.

``tests/differential`` makes the examples and asks the two; ``differences.yaml`` there is the list.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests import upstream
from tests.differential.area import Area
from tests.differential.areas import AREAS
from tests.differential.ask import Program
from tests.differential.compare import ACCEPTED, QUICK, TO_BE_MENDED, WHOLE, Difference, Example, explained, listed

SOME = settings(
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """diskimage-builder, running."""
    try:
        upstream.python()
    except RuntimeError as error:
        if os.environ.get("CI") or os.environ.get("DIB_CTR_TEST_ALL_ENGINES"):
            raise
        pytest.skip(str(error))
    running = Program(tmp_path_factory.mktemp("upstream") / "log")
    yield running
    running.close()


def reasons_of(area: Area, example: Example, program: Program) -> tuple[str, ...]:
    """Why the two differ (nothing: they say the same); AssertionError where nobody knows."""
    with tempfile.TemporaryDirectory() as folder:
        theirs, ours = area.both(example, program, Path(folder))
    found = explained(example, theirs, ours, area.reasons)
    assert found is not None, "\n".join(
        [
            f"of {area.name}, for no reason that is on the list:",
            f"example: {json.dumps(example)}",
            f"diskimage-builder: {json.dumps(theirs)}",
            f"dib-ctr: {json.dumps(ours)}",
        ]
    )
    return tuple(found)


def compare(area: Area, program: Program, options: settings, record: Callable[[str, object], None]) -> None:
    """Try examples, and record how many there were and how often each reason was needed."""
    needed: Counter[str] = Counter()

    @options
    @given(area.examples)
    def try_one(example: Example) -> None:
        needed.update(reasons_of(area, example, program) or ["the same"])

    try_one()
    told = ", ".join(f"{name} {number}" for name, number in needed.most_common())
    record("table", f"{area.name}: {needed.total()} examples ({told})")


@pytest.mark.parametrize("name", AREAS)
def test_some_examples(name: str, program: Program, record_property: Callable[[str, object], None]) -> None:
    """The same ones at every run, so that a change of something else does not fail by chance."""
    area = AREAS[name]
    number = QUICK * area.share // 100
    compare(area, program, settings(SOME, max_examples=number, derandomize=True), record_property)


@pytest.mark.thorough("ten times as many examples, and others at every run")
@pytest.mark.parametrize("name", AREAS)
def test_many_examples(name: str, program: Program, record_property: Callable[[str, object], None]) -> None:
    area = AREAS[name]
    number = WHOLE * area.share // 100
    compare(area, program, settings(SOME, max_examples=number, print_blob=True), record_property)


@pytest.mark.parametrize("difference", listed(), ids=lambda difference: difference.name)
def test_each_difference_of_the_list_is_there(difference: Difference, program: Program) -> None:
    """What stays is there; what is to be mended may be mended."""
    needed = reasons_of(AREAS[difference.area], difference.example, program)
    if difference.state == ACCEPTED:
        assert needed == (difference.name,)
    else:
        assert difference.state == TO_BE_MENDED
        assert needed in {(difference.name,), ()}


def test_the_list_has_the_reasons_and_no_others() -> None:
    reasons = {(area.name, name) for area in AREAS.values() for name in area.reasons}
    assert {(each.area, each.name) for each in listed()} == reasons
    assert len(listed()) == len(reasons)


def test_the_areas_share_all_examples() -> None:
    assert sum(area.share for area in AREAS.values()) == 100


def test_an_unknown_difference_fails(program: Program) -> None:
    example = {"path": [{"debian": {"element-provides": "operating-system"}}], "asked": ["debian"]}
    area = AREAS["elements"]

    def lying(example: Example, program: Program, folder: Path) -> tuple[dict[str, object], dict[str, object]]:
        theirs, _ = area.both(example, program, folder)
        return theirs, {"elements": [], "folders": {}}

    with pytest.raises(AssertionError, match="for no reason that is on the list"):
        reasons_of(Area("elements", 0, area.examples, lying, area.reasons), example, program)
