"""The secrets of one build: which variables and files they are, and texts without them."""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import quote, quote_plus

from blockdev.core.typed_json import Struct
from stages.redaction.patterns import PLAIN, WITHHELD, is_secret_name, parts, without_parts

SHORTEST = 4  # characters; what is shorter stands in too many words to be masked wherever it does
LARGEST = 1 << 14  # bytes of a file whose lines are masked
WHOLE_ENVIRONMENT = "DIB_ENV"  # has all other DIB_ variables within it
# What of an event is text for people; names, keys and paths are compared by machines, and stay.
_TEXTS = frozenset({"text", "tail", "why", "what", "where", "hint", "trace"})
_WITH_TEXTS = frozenset({"log", "note", "failed", "error", "bad"})
E = TypeVar("E", bound=Struct)


@dataclass(frozen=True)
class Redaction:
    """What is secret in one build.

    ``variables`` are the names of those that are secret as a whole, ``names`` what else was called secret (``*`` in a
    name counts), ``files`` the paths of given files that are, ``literals`` all secrets that are known, as texts.
    """

    variables: frozenset[str] = frozenset()
    names: tuple[str, ...] = ()
    files: frozenset[str] = frozenset()
    literals: frozenset[str] = field(default=frozenset(), repr=False)
    given: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        variables: Mapping[str, str],
        names: Iterable[str] = (),
        host_files: Collection[str] = (),
        files: Mapping[str, bytes] | None = None,
        more: Iterable[str] = (),
    ) -> Redaction:
        """The redaction for these variables.

        ``host_files`` are the paths of files that go along: a variable that names one is no secret, but the file may
        be one. ``files`` are the secret ones among them with their content, ``more`` further secrets (passphrases).
        """
        names, paths = tuple(names), frozenset(host_files)
        secret = frozenset(
            name
            for name, value in variables.items()
            if is_secret_name(name, value, names) and not _names_a_file(value, paths)
        )
        literals: set[str] = set(more)
        for name, value in variables.items():
            if name != WHOLE_ENVIRONMENT:
                literals.update((value,) if name in secret else parts(value))
        for content in (files or {}).values():
            if len(content) <= LARGEST:
                text = content.decode("utf-8", "replace")
                literals.update(list(parts(text)) or [text.strip()])
        return cls(secret, names, frozenset(files or ()), frozenset(literals) - {""}, paths)

    @property
    def is_empty(self) -> bool:
        """Is nothing secret here."""
        return not (self.variables or self.literals or self.files)

    def is_in(self, name: str, value: str) -> bool:
        """Is this variable secret, or has it anything secret within it: then no plain digest of it may be told."""
        if self.is_empty or not value:
            return False
        if name in self.variables or (name == WHOLE_ENVIRONMENT and self.variables):
            return True
        return any(True for _ in parts(value)) or any(literal in value for literal in self._masked)

    def shown(self, value: Any, name: str = "") -> Any:
        """A JSON value without secrets: those of ``names`` and of variables called like one, and all known ones.

        Not even a digest of a secret is told: a password's can be guessed.
        """
        if value and not isinstance(value, str | bool) and is_secret_name(name, str(value), self.names):
            return WITHHELD
        if isinstance(value, Mapping):
            return {str(key): self.shown(item, str(key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.shown(item) for item in value]
        if not isinstance(value, str):
            return value
        if (name in self.variables or is_secret_name(name, value, self.names)) and not _names_a_file(value, self.given):
            return WITHHELD
        if name == WHOLE_ENVIRONMENT and self.variables:
            return WITHHELD
        # An environment variable may have bytes that are no UTF-8; JSON must not.
        return self.mask(without_parts(value.encode("utf-8", "backslashreplace").decode()))

    def mask(self, text: str) -> str:
        """The text with every known secret in it, however written, replaced."""
        pattern = self._pattern
        return pattern.sub(WITHHELD, text) if pattern else text

    def event(self, event: E) -> E:
        """An event (``stages.protocol.events``) with its texts masked."""
        if self._pattern is None or getattr(event, "kind", "") not in _WITH_TEXTS:
            return event
        return event.replace(**{name: self._masked_text(vars(event)[name]) for name in _TEXTS & vars(event).keys()})

    def _masked_text(self, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return tuple([self._masked_text(item) for item in value])
        return self.mask(value) if isinstance(value, str) else value

    @cached_property
    def _masked(self) -> frozenset[str]:
        """The secrets that are long and odd enough to be looked for in any text; of several lines each one, too."""
        texts = set()
        for literal in self.literals:
            for text in (literal, *(literal.splitlines() if "\n" in literal else ())):
                if len(text.strip()) >= SHORTEST and text.lower() not in PLAIN and not text.startswith("-----"):
                    texts.add(text)
        return frozenset(texts)

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        written = {each for text in self._masked for each in _spellings(text)}
        if not written:
            return None
        return re.compile("|".join(re.escape(each) for each in sorted(written, key=lambda each: (-len(each), each))))


def _names_a_file(value: str, host_files: Collection[str]) -> bool:
    path = value.removeprefix("file://")
    return path in host_files or (
        path.startswith("/") and any(each.startswith(f"{path.rstrip('/')}/") for each in host_files)
    )


def _spellings(text: str) -> Iterator[str]:
    """A secret as scripts, traces and tools write it."""
    data = text.encode("utf-8", "surrogateescape")
    yield text
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield shlex.quote(text).strip("'")
    yield text.replace("'", r"'\''")  # `set -x`
    yield re.sub(r'([\\"$`])', r"\\\1", text)
    yield re.sub(r"([^\w@%+=:,./-])", r"\\\1", text)
    yield from (quote(data, safe=""), quote(data), quote_plus(data))
    for coded in (data, data + b"\n"):
        yield from (base64.b64encode(coded).decode(), base64.urlsafe_b64encode(coded).decode().rstrip("="))
    yield data.hex()
