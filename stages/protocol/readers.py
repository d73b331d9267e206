"""Readers of values that came as JSON from somebody who is not trusted.

Each takes a value and returns it, or raises ValueError with what is wrong with it in a few words. None of them takes a
value of a type, a length or a size that it was not made for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

Reader = Callable[[Any], Any]
DEEPEST = 40  # lists and mappings in one another
SHOWN = 60  # characters of a wrong value in a message
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def shown(value: Any) -> str:
    """A value in a message: on one line, and no longer than a person wants to read."""
    text = ascii(value) if isinstance(value, str | int | float | bool | None) else f"a {type(value).__name__}"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def text(most: int = 4096, pattern: str = "") -> Reader:
    """A text of at most so many characters; with a pattern it must match as a whole."""
    compiled = re.compile(pattern) if pattern else None

    def read(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError(f"{shown(value)} is no text")
        if len(value) > most:
            raise ValueError(f"a text of {len(value)} characters, where {most} are allowed")
        whole: str = _SURROGATE.sub("\ufffd", value)  # half of a character: nothing could print it
        if compiled and not compiled.fullmatch(whole):
            raise ValueError(f"{shown(value)} is not allowed here")
        return whole

    return read


def integer(least: int = 0, most: int = 1 << 62) -> Reader:
    """A whole number in these bounds."""

    def read(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"{shown(value)} is no number from {least} to {most}")
        return value

    return read


def number(value: Any) -> float:
    """A number of seconds or the like: finite, and not below 0."""
    if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value <= 1e18:
        raise ValueError(f"{shown(value)} is no number")
    return float(value)


def boolean(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{shown(value)} is neither true nor false")
    return value


def choice(*allowed: str) -> Reader:
    """One of these texts."""
    return one_of(frozenset(allowed))


def one_of(allowed: Collection[str]) -> Reader:
    """One of these texts."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise ValueError(f"{shown(value)} is not allowed here")
        return value

    return read


def many(reader: Reader, most: int) -> Reader:
    """A list of at most so many values."""

    def read(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise ValueError(f"{shown(value)} is no list")
        if len(value) > most:
            raise ValueError(f"a list of {len(value)} values, where {most} are allowed")
        return [reader(each) for each in value]

    return read


def mapping(names: Reader, values: Reader, most: int) -> Reader:
    """A mapping of at most so many names."""

    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError(f"{shown(value)} is no mapping")
        if len(value) > most:
            raise ValueError(f"a mapping of {len(value)} names, where {most} are allowed")
        return {names(name): values(each) for name, each in value.items()}

    return read


def record(needed: Mapping[str, Reader], optional: Mapping[str, Reader] | None = None) -> Reader:
    """A mapping with these fields, and perhaps these, but no others."""
    readers = {**needed, **(optional or {})}

    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError(f"{shown(value)} is no mapping")
        for name in needed:
            if name not in value:
                raise ValueError(f"{name} is missing")
        found = {}
        for name, each in value.items():
            if name not in readers:
                raise ValueError(f"{shown(name)} is no field of it")
            try:
                found[name] = readers[name](each)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        return found

    return read


def plain(longest: int = 1 << 16, most: int = 1 << 20) -> Reader:
    """Any JSON value of at most so many values, none of its texts longer than ``longest``, and not nested too deep."""
    line, whole = text(longest), integer(-(1 << 62))

    def read(value: Any) -> Any:
        left = most

        def walk(each: Any, depth: int) -> Any:
            nonlocal left
            left -= 1
            if left < 0 or depth > DEEPEST:
                raise ValueError("too many values, or too deep in one another")
            if isinstance(each, dict):
                return {line(name): walk(inner, depth + 1) for name, inner in each.items()}
            if isinstance(each, list):
                return [walk(inner, depth + 1) for inner in each]
            if isinstance(each, str):
                return line(each)
            if isinstance(each, float):
                if not math.isfinite(each):
                    raise ValueError(f"{shown(each)} is no number")
                return each
            return each if each is None or isinstance(each, bool) else whole(each)

        return walk(value, 0)

    return read
