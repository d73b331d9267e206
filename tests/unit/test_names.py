"""Names say what a thing is: a function, a class, an argument or a local is called by none of the words below.

Each of them fits everything (what was ``found``? which ``one``?), and once they were the names of half of all locals.
Fields are not looked at: some of them are keys of documents.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
WORDS = {"again", "found", "given", "known", "made", "named", "one", "place", "said", "told", "wanted"}


def _names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Lines and names of what is defined or bound, without the fields of classes."""
    fields = {
        id(node)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.ClassDef)
        for statement in outer.body
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in fields:
            yield node.lineno, node.id
        elif isinstance(node, ast.MatchAs | ast.MatchStar | ast.ExceptHandler) and node.name:
            yield node.lineno, node.name


def _dialect(tree: ast.AST) -> list[tuple[int, str]]:
    # Constants are of another kind: TOLD, say, is a table of what is told of.
    return sorted(
        (line, name) for line, name in _names(tree) if not name.isupper() and name.strip("_").lower() in WORDS
    )


def test_things_are_called_by_their_own_names() -> None:
    files = [file for room in ("builder", "stages", "blockdev", "qemu") for file in (CHECKOUT / room).rglob("*.py")]
    assert len(files) > 300
    assert [
        f"{file.relative_to(CHECKOUT)}:{line}: {name}"
        for file in sorted(files)
        for line, name in _dialect(ast.parse(file.read_text(encoding="utf-8")))
    ] == []


@pytest.mark.parametrize(
    "text",
    [
        "def found(): ...",
        "def _told(): ...",
        "class Made: ...",
        "def x(wanted): ...",
        "def x(*, given=1): ...",
        "lambda one: one",
        "def x():\n    said = 1",
        "[place for place in x]",
        "if (known := x): ...",
        "with x as named: ...",
        "try: ...\nexcept OSError as again: ...",
        "match x:\n    case [found, *_]: ...",
    ],
)
def test_a_name_of_the_dialect_is_seen(text: str) -> None:
    assert len(_dialect(ast.parse(text))) == 1


@pytest.mark.parametrize("text", ["class Record:\n    place: str", "x.found", "KNOWN = 1", "x(given=1)", "sister = 1"])
def test_fields_and_other_names_are_not(text: str) -> None:
    assert _dialect(ast.parse(text)) == []
