"""The bounds of what comes from somebody who is not trusted: the last that is taken, the first that is not."""

from __future__ import annotations

from typing import Any

import pytest

from blockdev.core import typed_json
from blockdev.core.typed_json import (
    Struct,
    boolean,
    fixed,
    integer,
    many,
    mapping,
    number,
    plain,
    plain_mapping,
    reader,
    shown,
    text,
)

HUGE = 1 << 62


def nested(depth: int, *, lists: bool) -> Any:
    """Nothing in so many lists, or mappings, in one another."""
    value: Any = None
    for _ in range(depth):
        value = [value] if lists else {"x": value}
    return value


class Point(Struct):
    x: int
    y: int = 0


@pytest.mark.parametrize(
    ("of", "value"),
    [
        (text(), "x" * 4096),
        (integer(), 0),
        (integer(), HUGE),
        (integer(3, 5), 3),
        (integer(3, 5), 5),
        (number, 0),
        (number, 0.5),
        (number, 1e18),
        (many(int, 2), [1, 2]),
        (many(int, 2), []),
        (mapping(str, int, 2), {"a": 1, "b": 2}),
        (mapping(str, int, 2), {}),
        (plain(), "x" * (1 << 16)),
        (plain(), [HUGE, -HUGE, None, True, 0.5]),
        (plain(most=3), [1, 2]),
        (plain(), nested(40, lists=True)),
        (plain(), nested(40, lists=False)),
        (plain(), [None] * ((1 << 20) - 1)),
        (plain_mapping(), {"x": "x" * (1 << 16)}),
        (plain_mapping(), {"x": [None] * ((1 << 20) - 2)}),
        (boolean, False),
    ],
    ids=lambda value: shown(value)[:20],
)
def test_the_last_that_is_taken(of: Any, value: Any) -> None:
    taken = reader(of)(value)
    assert taken == (tuple(value) if isinstance(value, list) and isinstance(taken, tuple) else value)


@pytest.mark.parametrize(
    ("of", "value"),
    [
        (text(), "x" * 4097),
        (integer(), -1),
        (integer(), HUGE + 1),
        (integer(3, 5), 2),
        (integer(3, 5), 6),
        (integer(), True),
        (integer(), 1.0),
        (number, -0.5),
        (number, 1.1e18),
        (number, float("inf")),
        (number, float("nan")),
        (number, True),
        (number, "1"),
        (many(int, 2), [1, 2, 3]),
        (many(int, 2), "ab"),
        (mapping(str, int, 2), {"a": 1, "b": 2, "c": 3}),
        (mapping(str, int), []),
        (plain(), "x" * ((1 << 16) + 1)),
        (plain(), HUGE + 1),
        (plain(), -HUGE - 1),
        (plain(), b"bytes"),
        (plain(), nested(41, lists=True)),
        (plain(), nested(41, lists=False)),
        (plain(), [None] * (1 << 20)),
        (plain_mapping(), []),
        (plain_mapping(), {"x": "x" * ((1 << 16) + 1)}),
        (plain_mapping(), {"x": [None] * ((1 << 20) - 1)}),
        (fixed(int, int), [1]),
        (fixed(int, int), [1, 2, 3]),
        (fixed(int, int), {1: 2}),
        (boolean, 0),
        (str | None, 1),
    ],
    ids=lambda value: shown(value)[:20],
)
def test_the_first_that_is_not(of: Any, value: Any) -> None:
    with pytest.raises(ValueError):
        reader(of)(value)


def test_a_text_is_shown_up_to_its_60th_character() -> None:
    assert typed_json.SHOWN == 60
    assert shown("x" * 58) == repr("x" * 58)
    assert shown("x" * 59) == repr("x" * 59)[:60] + "..."


def test_half_of_a_character_becomes_one_that_can_be_printed() -> None:
    assert text()("a\ud800b\U0001f980\u00e4") == "a\ufffdb\U0001f980\u00e4"
    assert text(9, "[\ufffd]")("\udfff") == "\ufffd"


def test_what_may_be_nothing_is_that_or_what_it_may_be() -> None:
    assert reader(str | None)(None) is None
    assert reader(str | None)("x") == "x"
    with pytest.raises(TypeError, match="no JSON is read as"):
        reader(str | int)
    with pytest.raises(TypeError, match="no JSON is read as"):
        reader(str | int | None)
    with pytest.raises(TypeError, match="no JSON is read as"):
        reader(object)


def test_two_structs_are_the_same_by_all_their_fields() -> None:
    assert Point(x=1) == Point(x=1, y=0), "what was left out is the default"
    assert Point(x=1, y=2) != Point(x=1, y=1)
    assert Point(x=1000) == Point(x=int("1000"))
