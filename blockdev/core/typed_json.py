"""Values of our own types from JSON, and what a value must be like to become one.

:func:`reader` makes the reader of a type: of a dataclass, a :class:`Struct`, ``tuple[str, ...]``, ``Mapping[str, int]``
and the like. A field that is more than its type says so beside it, ``Annotated[int, integer(1, 9)]``, with one of the
readers here or a function like them: it takes a value and returns it, or raises ValueError with what is wrong with it
in a few words. None takes a value of a type, a length or a size that it was not made for, so what comes from somebody
who is not trusted may be read with them.
"""

from __future__ import annotations

import functools
import math
import re
import sys
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar, Self, TypeVar, dataclass_transform

Reader = Callable[[Any], Any]
DEEPEST = 40  # lists and mappings in one another
SHOWN = 60  # characters of a wrong value in a message
_SURROGATE = r"[\ud800-\udfff]"
T = TypeVar("T")
_readers: dict[Any, Reader] = {}


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Struct:
    """The base of values with typed fields that travel as JSON: as a frozen dataclass is written and used.

    Fields are given by name; one with a default may be left out, and then it is not written either. Such a class takes
    0.01 ms to define, where a dataclass takes 0.5 to 1 ms: that counts where a build that changes nothing meets thirty.
    """

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} of a {type(self).__name__} is fixed")

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return False
        return all(getattr(self, name) == getattr(other, name) for name in {**self.__dict__, **other.__dict__})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"

    def replace(self, **changes: Any) -> Self:
        """The same with other values for these fields."""
        return type(self)(**{**self.__dict__, **changes})


def shown(value: Any) -> str:
    """A value in a message: on one line, and no longer than a person wants to read."""
    text = ascii(value) if isinstance(value, str | int | float | bool | None) else f"a {type(value).__name__}"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


# -- the reader of a type ---------------------------------------------------------------------------------------------


def read(of: type[T], value: Any) -> T:
    """The value of a type from what JSON gives for it; raises ValueError saying what is wrong with anything else."""
    result: T = reader(of)(value)
    return result


def reader(of: Any) -> Reader:
    """The reader of a type, or of what is one already; made when it is first asked for."""
    made_reader = _readers.get(of)
    if made_reader is None:
        made_reader = _readers[of] = _reader(of)
    return made_reader


def _reader(of: Any) -> Reader:
    if isinstance(of, types.FunctionType):
        return of
    for more in getattr(of, "__metadata__", ()):  # of Annotated
        return reader(more)
    if of in _PLAIN:
        return _PLAIN[of]
    origin, arguments = typing.get_origin(of), typing.get_args(of)
    if origin is tuple and arguments[1:] == (...,):
        return many(arguments[0])
    if origin is tuple:
        return fixed(*arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return mapping(*arguments)
    if origin in (typing.Union, types.UnionType) and len(arguments) == 2 and types.NoneType in arguments:
        return _perhaps(next(each for each in arguments if each is not types.NoneType))
    if isinstance(of, type) and (issubclass(of, Struct) or hasattr(of, "__dataclass_fields__")):
        return record(of)
    raise TypeError(f"no JSON is read as {of}")


def _any(value: Any) -> Any:
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("is no text")
    return value


def _number(value: Any) -> int:
    if type(value) is not int:
        raise ValueError("is no number")
    return value


def _real(value: Any) -> float:
    if type(value) not in (int, float):
        raise ValueError("is no number")
    return float(value)


def boolean(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{shown(value)} is neither true nor false")
    return value


_PLAIN: Mapping[Any, Reader] = {Any: _any, str: _text, int: _number, float: _real, bool: boolean}


def _perhaps(of: Any) -> Reader:
    return lambda value: None if value is None else reader(of)(value)


def record(of: type[Any], name: str = "", *, whole: bool = False) -> Reader:
    """A mapping with the fields of a dataclass or a :class:`Struct` and no others.

    Those with a default may lack, unless it is to be ``whole``. ``name`` says in messages what it is ("a package").
    """

    @functools.cache
    def fields() -> tuple[Mapping[str, Reader], tuple[str, ...]]:
        """The readers of all fields, and the names of those that must be there."""
        hints = _annotations(of)
        readers = {each: reader(hint) for each, hint in hints.items() if typing.get_origin(hint) is not ClassVar}
        return readers, tuple(each for each in readers if whole or not _has_default(of, each))

    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f"{name or shown(value)} is no mapping")
        readers, needed = fields()
        for each in needed:
            if each not in value:
                raise ValueError(f"{each} is missing")
        values = {}
        for each, inner in value.items():
            if each not in readers:
                what = f"{name} has the unknown field {each!r}" if name else f"{shown(each)} is no field of it"
                raise ValueError(what)
            try:
                values[each] = readers[each](inner)
            except ValueError as error:
                reason = str(error)
                raise ValueError(f"{each} {reason}" if reason.startswith("is no ") else f"{each}: {reason}") from None
        return of(**values)

    return read


def _annotations(of: type[Any]) -> dict[str, Any]:
    """The annotations of a class: ``typing.get_type_hints`` in a tenth of its time, for which every build waits."""
    annotations: dict[str, Any] = {}
    for base in reversed(of.__mro__):
        written: Mapping[str, Any] = getattr(base, "__annotations__", {})
        values: Collection[Any] = written.values()
        if values and all(isinstance(each, str) for each in values):
            values = eval(f"({', '.join(values)},)", vars(sys.modules[base.__module__]))
        annotations |= zip(written, values, strict=True)
    return annotations


def _has_default(of: type[Any], name: str) -> bool:
    """Has a field a default: a dataclass keeps one that is made anew for each value elsewhere."""
    field = getattr(of, "__dataclass_fields__", {}).get(name)
    return hasattr(of, name) or (field is not None and callable(field.default_factory))


# -- readers of what is bounded ---------------------------------------------------------------------------------------


def text(most: int = 4096, pattern: str = "") -> Reader:
    """A text of at most so many characters; with a pattern it must match as a whole."""

    def read(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError(f"{shown(value)} is no text")
        if len(value) > most:
            raise ValueError(f"a text of {len(value)} characters, where {most} are allowed")
        # Half of a character: nothing could print it.
        whole = value if value.isascii() else re.sub(_SURROGATE, "\ufffd", value)
        if pattern and not re.fullmatch(pattern, whole):
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


def many(of: Any, most: int | None = None) -> Reader:
    """A list, of at most so many values, as a tuple; ``of`` is their type or their reader."""

    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise ValueError("is no list" if most is None else f"{shown(value)} is no list")
        if most is not None and len(value) > most:
            raise ValueError(f"a list of {len(value)} values, where {most} are allowed")
        each = reader(of)
        return tuple([each(inner) for inner in value])

    return read


def fixed(*of: Any) -> Reader:
    """A list with a value of each of these types, as a tuple."""

    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or len(value) != len(of):
            raise ValueError(f"is no list of {len(of)} values")
        return tuple([reader(each)(inner) for each, inner in zip(of, value, strict=True)])

    return read


def mapping(names: Any, values: Any, most: int | None = None) -> Reader:
    """A mapping, of at most so many names."""

    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError("is no mapping" if most is None else f"{shown(value)} is no mapping")
        if most is not None and len(value) > most:
            raise ValueError(f"a mapping of {len(value)} names, where {most} are allowed")
        result = {}
        for name, inner in value.items():
            try:
                result[reader(names)(name)] = reader(values)(inner)
            except ValueError as error:
                reason = str(error)
                raise ValueError(f"{name} {reason}" if reason.startswith("is no ") else reason) from None
        return result

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


def plain_mapping(longest: int = 1 << 16, most: int = 1 << 20) -> Reader:
    """A mapping of such values (:func:`plain`)."""
    inner = plain(longest, most)

    def read(value: Any) -> Any:
        result = inner(value)
        if not isinstance(result, dict):
            raise ValueError(f"{shown(value)} is no mapping")
        return result

    return read
