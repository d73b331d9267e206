"""``source-repository-*``: a repository a line, ``NAME TYPE DESTINATION LOCATION [REF]``, as DIB's element reads it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from builder.check.finding import ERROR, WARNING, Finding
from stages.element import Element

TYPES = ("git", "tar", "file", "package")
_NAME = re.compile(r"[A-Za-z0-9_.+-]+\Z")


def _line(text: str) -> Iterator[tuple[str, str, str]]:
    """What is wrong with one line: (severity, code, sentence)."""
    words = text.split()
    if len(words) < 4:
        yield ERROR, "source-repository", f"expected NAME TYPE DESTINATION LOCATION [REF], found {len(words)} words"
        return
    name, kind, destination, _, *rest = words
    if not _NAME.match(name):
        yield ERROR, "source-repository", f"{name!r} cannot name a repository: variables are named after it"
    if kind not in TYPES and "$" not in kind:
        yield ERROR, "source-repository", f"the type {kind!r} is not known; expected {', '.join(TYPES)}"
    if not destination.startswith(("/", "$", '"', "'")):
        yield ERROR, "source-repository", f"the destination {destination!r} is not an absolute path"
    if kind == "package":
        yield (
            WARNING,
            "source-package",
            f"{name}: a repository of type package fails wherever its install type is source, which is the default",
        )
    if kind == "tar" and not rest:
        yield WARNING, "source-ref", f"{name}: without a folder in it (`.` is all of it), a tar file's is guessed: *"
    if len(rest) > 1:
        yield WARNING, "source-words", f"{name}: what follows the ref has no effect: {' '.join(rest[1:])}"


def check(element: Element) -> Iterator[Finding]:
    """What is wrong in the element's source-repository files."""
    for file in sorted(element.path.glob("source-repository-*")):
        if file.is_file():
            yield from _file(element.name, file)


def _file(element: str, file: Path) -> Iterator[Finding]:
    data = file.read_bytes()
    if not data.strip():
        yield Finding(WARNING, "source-empty", element, file, 0, "this file names no repository")
        return
    lines = data.decode("utf-8", "replace").split("\n")
    if not data.endswith(b"\n"):
        text = "the last line does not end; diskimage-builder does not see it"
        yield Finding(WARNING, "source-newline", element, file, len(lines), text)
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line.endswith("\r"):
            yield Finding(ERROR, "carriage-return", element, file, number, "the line ends with a carriage return")
            continue
        name = line.split()[0]
        if name in seen:
            text = f"the repository {name!r} is in line {seen[name]}, too"
            yield Finding(ERROR, "source-repository", element, file, number, text)
        seen.setdefault(name, number)
        for severity, code, text in _line(line):
            yield Finding(severity, code, element, file, number, text)
