"""The names of secret variables that elements bring: the file ``secret-variables``, one a line (``*`` counts)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from blockdev.core.errors import UsageError

FILE = "secret-variables"
NAME = re.compile(r"[A-Za-z_*][A-Za-z0-9_*]*\Z")


def lines_of(file: Path) -> Iterator[tuple[int, str]]:
    """The non-blank lines of the file without its comments (``#``), with their numbers from 1; none without a file."""
    if not file.is_file():
        return
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        name = line.partition("#")[0].strip()
        if name:
            yield number, name


def is_name(text: str) -> bool:
    """Can this name variables: a name, perhaps with ``*`` in it, but not ``*`` alone."""
    return bool(NAME.match(text)) and text.strip("*_") != ""


def names_of(elements: Iterable[Path]) -> tuple[str, ...]:
    """What the elements in these folders call secret, sorted; raises UsageError with file and line."""
    names = set()
    for folder in elements:
        for number, name in lines_of(folder / FILE):
            if not is_name(name):
                raise UsageError(
                    f"{name!r} is not a variable's name",
                    where=f"{folder / FILE}:{number}",
                    hint="write one name a line; * stands for any letters",
                )
            names.add(name)
    return tuple(sorted(names))
