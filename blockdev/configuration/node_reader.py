"""One map of a configuration while it is read: its keys, each with its line, and what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from blockdev.configuration import sizes
from blockdev.configuration.nodes import SourceLocation
from blockdev.core.yaml_document import Document

_Value = TypeVar("_Value")
_NAME = re.compile(r"\S(?:.*\S)?\Z")


@dataclass(frozen=True)
class NodeEntry:
    """The map at ``at`` of ``document``; ``what`` is how messages call it (``partition``, ``mkfs``)."""

    document: Document
    at: tuple[Hashable, ...]
    what: str
    data: dict[str, Any]

    @classmethod
    def of(cls, document: Document, at: tuple[Hashable, ...], what: str, data: Any) -> NodeEntry:
        """The entry for ``data``, which must be a map with texts as keys."""
        if not isinstance(data, dict):
            document.refuse(
                f"{what}: {in_words(data)} is no map of keys", *at, hint="expected: key: value lines below it"
            )
        return cls(document, at, what, data)

    @property
    def where(self) -> SourceLocation:
        """Its place in the file."""
        lines, keys = self.document.lines, {}
        for key in self.data:
            if (*self.at, key) in lines:
                keys[str(key)] = lines[*self.at, key]
        return SourceLocation(self.document.file, lines.get(self.at, 1), keys)

    def title(self) -> str:
        """How messages call this very entry."""
        name = self.data.get("name")
        return f"{self.what} {name!r}" if isinstance(name, str) else self.what

    def refuse(self, key: str, expected: str) -> NoReturn:
        """Refuse what stands at ``key``, or that nothing does."""
        if key not in self.data:
            self.document.refuse(f"{self.title()}: the key {key!r} is missing", *self.at, hint=f"expected: {expected}")
        self.document.refuse(
            f"{self.title()}: {key} is {in_words(self.data[key])}", *self.at, key, hint=f"expected: {expected}"
        )

    def text(self, key: str, expected: str, default: str | None = None) -> str:
        """A scalar as a text; ``default`` None: it must be there."""
        value = self.data.get(key, default)
        if not isinstance(value, str) or (default is None and not value):
            self.refuse(key, expected)
        return value

    def name(self, default: str) -> str:
        """The node's name."""
        value = self.text("name", "a name", default)
        if not _NAME.match(value):
            self.refuse("name", "a name without blanks at its ends")
        return value

    def name_given(self) -> str:
        """The name of a node that must have one."""
        if "name" not in self.data:
            self.refuse("name", "a name that nothing else has")
        return self.name("")

    def converted(self, key: str, expected: str, convert: Callable[[str], _Value], default: str) -> _Value:
        """A scalar through ``convert``, which raises ValueError for what it does not take."""
        try:
            return convert(self.text(key, expected, default))
        except ValueError:
            self.refuse(key, expected)

    def one_of(self, key: str, values: tuple[str, ...], default: str | None = None) -> str:
        """One of some words."""
        expected = f"one of {', '.join(value for value in values if value)}"
        value = self.text(key, expected, default)
        if value not in values:
            self.refuse(key, expected)
        return value

    def flag(self, key: str) -> bool:
        """``true`` or ``false``, in YAML's spellings."""
        return self.one_of(key, ("true", "false", "yes", "no"), "no") in {"true", "yes"}

    def bytes(self, key: str) -> int | None:
        """An absolute size in bytes; None where there is none."""
        if key not in self.data:
            return None
        return self.converted(key, sizes.EXPECTED, sizes.parse_bytes, "")

    def texts(self, key: str, expected: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """A list of scalars."""
        if key not in self.data and default is not None:
            return default
        value = self.data.get(key)
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            self.refuse(key, expected)
        return tuple(value)

    def entries(self, key: str, what: str) -> tuple[NodeEntry, ...]:
        """A list of maps, at least one."""
        value = self.data.get(key)
        if not isinstance(value, list) or not value:
            self.refuse(key, f"a list of {what}s, each a map")
        return tuple(
            NodeEntry.of(self.document, (*self.at, key, index), what, item) for index, item in enumerate(value)
        )


def in_words(value: Any) -> str:
    """What stands in the file, as a message shows it."""
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list):
        plain = all(isinstance(item, str) for item in value)
        return f"[{', '.join(value)}]" if plain else "a list"
    return "empty" if value is None or value == "" else repr(value)
