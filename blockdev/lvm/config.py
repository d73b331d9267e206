"""The syntax of lvm's text metadata: ``key = value``, ``name { ... }``, ``[lists]``, ``# remarks``. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

Value: TypeAlias = "int | float | str | list[Value] | dict[str, Value]"
Section: TypeAlias = dict[str, Value]

_DEEPEST = 20  # real metadata has four levels
_BETWEEN = re.compile(r"(?:\s+|#[^\n]*)*")
_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*"|'[^']*') | (?P<sign>[{}\[\]=,]) | (?P<word>[^\s#={}\[\],"']+)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}\Z", re.ASCII)
_FLOAT = re.compile(r"[+-]?[0-9]{1,20}\.[0-9]{0,20}\Z", re.ASCII)


class DamagedError(Exception):
    """The text is not what it should be; its message is the end of a sentence that names the text."""


@dataclass(frozen=True)
class _Token:
    kind: str  # string, sign, word, or end
    text: str
    line: int


def parse(text: str) -> Section:
    """All keys and sections of a text; of two with one name the later counts. DamagedError says the line."""
    return _Parser(_tokens(text)).section("end", 0)


def integer(section: Section, key: str) -> int:
    """A number that is not negative. DamagedError: there is none."""
    value = section.get(key)
    if not isinstance(value, int) or value < 0:
        raise DamagedError(f"has no number {key}")
    return value


def string(section: Section, key: str) -> str:
    """A text. DamagedError: there is none."""
    value = section.get(key)
    if not isinstance(value, str):
        raise DamagedError(f"has no text {key}")
    return value


def strings(section: Section, key: str) -> list[str]:
    """The texts of a list; none where there is no such list."""
    value = section.get(key)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def sections(section: Section, key: str) -> dict[str, Section]:
    """The sections within the section ``key``; none where there is no such section."""
    value = section.get(key)
    return {name: item for name, item in value.items() if isinstance(item, dict)} if isinstance(value, dict) else {}


def _tokens(text: str) -> list[_Token]:
    tokens, at, line = list[_Token](), 0, 1
    while True:
        between = _BETWEEN.match(text, at)
        if between:
            line += between[0].count("\n")
            at = between.end()
        if at == len(text):
            return [*tokens, _Token("end", "", line)]
        match = _TOKEN.match(text, at)
        if not match or not match.lastgroup:
            raise DamagedError(f"cannot be read at line {line}")
        tokens.append(_Token(match.lastgroup, match[0], line))
        line += match[0].count("\n")
        at = match.end()


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        self.tokens = tokens
        self.at = 0

    def take(self) -> _Token:
        token = self.tokens[self.at]
        self.at += token.kind != "end"
        return token

    def section(self, closing: str, depth: int) -> Section:
        """What stands up to the closing brace, or up to the end of the text."""
        if depth > _DEEPEST:
            raise DamagedError("has too many sections within each other")
        entries: Section = {}
        while True:
            name = self.take()
            if (closing == "end" and name.kind == "end") or (closing == "}" and name.text == "}"):
                return entries
            if name.kind not in ("word", "string"):
                raise DamagedError(f"has no name where one should be, at line {name.line}")
            key = _text(name)
            sign = self.take()
            if sign.kind == "sign" and sign.text == "{":
                entries[key] = self.section("}", depth + 1)
            elif sign.kind == "sign" and sign.text == "=":
                entries[key] = self.value(self.take(), depth)
            else:
                raise DamagedError(f"has neither = nor {{ after {key[:40]!r}, at line {sign.line}")

    def value(self, token: _Token, depth: int) -> Value:
        if depth > _DEEPEST:
            raise DamagedError("has too many lists within each other")
        if token.kind == "string":
            return _text(token)
        if token.kind == "word":
            return _word(token.text)
        if token.text != "[":
            raise DamagedError(f"has no value where one should be, at line {token.line}")
        items: list[Value] = []
        while (item := self.take()).text != "]" or item.kind != "sign":
            items.append(self.value(item, depth + 1))
            after = self.tokens[self.at]
            if after.kind == "sign" and after.text == ",":
                self.take()
            elif after.text != "]":
                raise DamagedError(f"has a list that does not go on, at line {after.line}")
        return items


def _text(token: _Token) -> str:
    if token.kind == "word":
        return token.text
    return token.text[1:-1] if token.text[0] == "'" else _ESCAPED.sub(r"\1", token.text[1:-1])


def _word(text: str) -> Value:
    if _INTEGER.match(text):
        return int(text)
    return float(text) if _FLOAT.match(text) else text
