"""GitHub's expressions, as far as `action.yml` uses them.

By the documentation of GitHub Actions, "Evaluate expressions in workflows and actions": literals, contexts, operators
with their order, and loose comparison of text without regard to case.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?\d+(?:\.\d+)?)|(?P<op>==|!=|&&|\|\||[!().,])|(?P<name>[A-Za-z_][\w-]*))"
)
TEMPLATE = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)


class ExpressionError(ValueError):
    """An expression that this does not know."""


def truth(value: Any) -> bool:
    """Does GitHub take this for true."""
    return value not in (None, False, 0, "")


def shown(value: Any) -> str:
    """A value within a text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value)


def _format(pattern: str, *values: Any) -> str:
    return re.sub(r"\{(\d+)\}", lambda match: shown(values[int(match[1])]), pattern)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "contains": lambda where, what: shown(what).lower() in shown(where).lower(),
    "format": _format,
    "tojson": json.dumps,
    "fromjson": json.loads,
    "always": lambda: True,
    "success": lambda: True,
}


def _tokens(text: str) -> list[tuple[str, str]]:
    found, place = [], 0
    while text[place:].strip():
        match = TOKEN.match(text, place)
        if match is None:
            raise ExpressionError(f"{text!r}: what is {text[place:]!r}?")
        assert match.lastgroup is not None
        found.append((match.lastgroup, match[match.lastgroup]))
        place = match.end()
    return found


@dataclass
class _Reader:
    tokens: list[tuple[str, str]]
    contexts: Mapping[str, Any]

    def take(self, *wanted: str) -> bool:
        if self.tokens and self.tokens[0][0] == "op" and self.tokens[0][1] in wanted:
            self.tokens.pop(0)
            return True
        return False

    def either(self) -> Any:
        value = self.both()
        while self.take("||"):
            other = self.both()
            value = value if truth(value) else other
        return value

    def both(self) -> Any:
        value = self.compared()
        while self.take("&&"):
            other = self.compared()
            value = other if truth(value) else value
        return value

    def compared(self) -> Any:
        value = self.single()
        for operator in ("==", "!="):
            if self.take(operator):
                same = shown(value).lower() == shown(self.single()).lower()
                return same if operator == "==" else not same
        return value

    def single(self) -> Any:
        if self.take("!"):
            return not truth(self.single())
        if self.take("("):
            value = self.either()
            self._expect(")")
            return value
        if not self.tokens:
            raise ExpressionError("an expression ends too early")
        kind, word = self.tokens.pop(0)
        if kind == "text":
            return word[1:-1].replace("''", "'")
        if kind == "number":
            return float(word) if "." in word else int(word)
        if kind != "name":
            raise ExpressionError(f"{word!r} is out of place")
        return self._call(word) if self.take("(") else self._context(word)

    def _call(self, name: str) -> Any:
        arguments = []
        while not self.take(")"):
            arguments.append(self.either())
            self.take(",")
        if name.lower() not in FUNCTIONS:
            raise ExpressionError(f"there is no function {name}")
        return FUNCTIONS[name.lower()](*arguments)

    def _context(self, name: str) -> Any:
        if name in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[name]
        if name not in self.contexts:
            raise ExpressionError(f"there is no context {name}")
        value = self.contexts[name]
        while self.take("."):
            _, part = self.tokens.pop(0)
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    def _expect(self, word: str) -> None:
        if not self.take(word):
            raise ExpressionError(f"{word!r} is missing")


def evaluate(text: str, contexts: Mapping[str, Any]) -> Any:
    """The value of one expression (with or without its ``${{ }}``); raises ExpressionError."""
    reader = _Reader(_tokens(TEMPLATE.sub(r"\1", text)), contexts)
    value = reader.either()
    if reader.tokens:
        raise ExpressionError(f"{text!r}: what is {reader.tokens[0][1]!r}?")
    return value


def filled(text: str, contexts: Mapping[str, Any]) -> str:
    """A text with its expressions evaluated."""
    return TEMPLATE.sub(lambda match: shown(evaluate(match[1], contexts)), text)
