"""JSON becomes values of our types, or is refused with what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest

from blockdev.core.typed_json import Struct, choice, fixed, integer, mapping, plain, read, reader, record, text


@dataclass(frozen=True)
class Inner:
    name: str
    size: Annotated[int, integer(1, 9)] = 1


@dataclass(frozen=True)
class Outer:
    inner: tuple[Inner, ...]
    sizes: Mapping[str, int]
    pair: tuple[str, int] | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    ratio: float = 0.0
    on: bool = False


class Point(Struct):
    x: Annotated[int, integer(0, 9)]
    label: str = "none"


def test_dataclasses_are_read_with_what_is_in_them() -> None:
    data = {"inner": [{"name": "a"}, {"name": "b", "size": 2}], "sizes": {"x": 1}, "pair": ["y", 2], "ratio": 1}
    assert read(Outer, data) == Outer((Inner("a"), Inner("b", 2)), {"x": 1}, ("y", 2), ratio=1.0)
    assert read(Outer, {"inner": [], "sizes": {}, "pair": None}) == Outer((), {})
    assert reader(Outer) is reader(Outer)


def test_a_struct_has_its_defaults_and_writes_what_it_was_given() -> None:
    point = read(Point, {"x": 1})
    assert (point.x, point.label, vars(point)) == (1, "none", {"x": 1})
    assert point == Point(x=1) != Point(x=1, label="other")
    assert point != object()
    assert read(tuple[Point, ...], [{"x": 2, "label": "y"}]) == (Point(x=2, label="y"),)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "a list is no mapping"),
        ({"inner": []}, "sizes is missing"),
        ({"inner": {}, "sizes": {}}, "inner is no list"),
        ({"inner": [{"name": 1}], "sizes": {}}, "inner: name is no text"),
        ({"inner": [{"name": "a", "size": 10}], "sizes": {}}, "inner: size: 10 is no number from 1 to 9"),
        ({"inner": [{"name": "a", "x": 1}], "sizes": {}}, "inner: 'x' is no field of it"),
        ({"inner": [], "sizes": []}, "sizes is no mapping"),
        ({"inner": [], "sizes": {"x": "1"}}, "sizes: x is no number"),
        ({"inner": [], "sizes": {"x": True}}, "sizes: x is no number"),
        ({"inner": [], "sizes": {}, "pair": ["x"]}, "pair is no list of 2 values"),
        ({"inner": [], "sizes": {}, "more": 1}, "more is no mapping"),
        ({"inner": [], "sizes": {}, "ratio": "1"}, "ratio is no number"),
        ({"inner": [], "sizes": {}, "on": 1}, "on: 1 is neither true nor false"),
    ],
)
def test_what_is_wrong_is_said_with_its_field(data: Any, said: str) -> None:
    with pytest.raises(ValueError) as error:
        read(Outer, data)
    assert str(error.value) == said


def test_a_record_may_have_a_name() -> None:
    with pytest.raises(ValueError, match=r"^a thing is no mapping$"):
        record(Inner, "a thing")([])
    with pytest.raises(ValueError, match=r"^a thing has the unknown field 'y'$"):
        record(Inner, "a thing")({"name": "x", "y": 1})


@pytest.mark.parametrize(
    ("of", "value", "said"),
    [
        (text(2), "abc", "a text of 3 characters, where 2 are allowed"),
        (text(9, "[ab]+"), "abc", "'abc' is not allowed here"),
        (text(9, "a"), "a\n", r"'a\n' is not allowed here"),
        (choice("a", "b"), "c", "'c' is not allowed here"),
        (choice("a", "b"), ["a"], "a list is not allowed here"),
        (mapping(text(), integer(), 1), {"a": 1, "b": 2}, "a mapping of 2 names, where 1 are allowed"),
        (fixed(int, str), [1, 2], "is no text"),
        (plain(longest=3), {"a": ["abcd"]}, "a text of 4 characters, where 3 are allowed"),
        (plain(most=3), [1, 2, 3], "too many values, or too deep in one another"),
        (plain(), float("nan"), "nan is no number"),
    ],
)
def test_bounds_hold(of: Any, value: Any, said: str) -> None:
    with pytest.raises(ValueError) as error:
        reader(of)(value)
    assert str(error.value) == said


def test_what_no_json_becomes_is_a_fault_of_ours() -> None:
    with pytest.raises(TypeError, match="no JSON is read as"):
        reader(set[str])
