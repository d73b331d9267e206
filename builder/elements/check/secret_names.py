"""The file ``secret-variables``: names of variables, a line each."""

from __future__ import annotations

from collections.abc import Iterator

from builder.elements.check.finding import ERROR, WARNING, Finding
from stages.element.resolve import Element
from stages.redaction.names import FILE, is_name, lines_of


def check(element: Element) -> Iterator[Finding]:
    """Lines that name no variable, which end a build, and names that are there twice."""
    file = element.path / FILE
    seen: set[str] = set()
    for number, name in lines_of(file):
        if not is_name(name):
            text = f"{name!r} is not a variable's name; * in one stands for any letters"
            yield Finding(ERROR, "bad-secret", element.name, file, number, text)
        elif name in seen:
            yield Finding(WARNING, "twice", element.name, file, number, f"{name!r} is there twice")
        seen.add(name)
