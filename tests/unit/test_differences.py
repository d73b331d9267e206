"""The list of differences, and the version of diskimage-builder that the tests compare with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import upstream
from tests.differential.compare import (
    ANYTHING,
    REFUSED,
    UNFORETOLD,
    Answer,
    Example,
    explained,
)


def other_name(example: Example, theirs: Answer) -> Answer | None:
    return {**theirs, "name": example["name"]} if "name" in example else None


def any_size(example: Example, theirs: Answer) -> Answer | None:
    return {**theirs, "size": ANYTHING} if "size" in example else None


def whatever(example: Example, theirs: Answer) -> Answer | None:
    return UNFORETOLD if "whatever" in example else None


REASONS = {"other-name": other_name, "any-size": any_size, "whatever": whatever}
HERE = {"name": "a", "size": 1}


@pytest.mark.parametrize(
    ("example", "theirs", "ours", "reasons"),
    [
        ({}, HERE, HERE, []),
        ({}, {"refused": "so"}, {"refused": "otherwise"}, []),
        ({}, HERE, {"refused": "why"}, None),
        ({}, HERE, {**HERE, "name": "b"}, None),
        ({"name": "b"}, HERE, {**HERE, "name": "b"}, ["other-name"]),
        ({"name": "b"}, HERE, {**HERE, "name": "c"}, None),
        ({"name": "b"}, HERE, {"name": "b", "size": 2}, None),
        ({"name": "b", "size": ""}, HERE, {"name": "b", "size": 2}, ["other-name", "any-size"]),
        ({"name": "b", "size": ""}, HERE, {"name": "c", "size": 2}, None),
        ({"whatever": ""}, HERE, dict(REFUSED), ["whatever"]),
        ({}, {"any": [HERE, {"refused": "by chance"}]}, {"refused": "always"}, []),
        ({}, {"any": [HERE, {**HERE, "name": "b"}]}, {**HERE, "name": "c"}, None),
    ],
)
def test_answers_are_equal_or_differ_for_a_reason(
    example: Example, theirs: Answer, ours: Answer, reasons: list[str] | None
) -> None:
    found = explained(example, theirs, ours, REASONS)
    assert (found if found is None else [*found]) == reasons


def test_another_version_is_pinned_in_one_place() -> None:
    text = Path(upstream.__file__).read_text(encoding="utf-8")
    after = upstream.pinned(text, "99.1.2")
    assert after.replace('VERSION = "99.1.2"', f'VERSION = "{upstream.VERSION}"') == text != after


@pytest.mark.parametrize("version", ["", "newest", "1.0; touch x", "1.0\n", "1..0"])
def test_what_is_no_version_is_not_pinned(version: str) -> None:
    with pytest.raises(ValueError, match="no version"):
        upstream.pinned("", version)
