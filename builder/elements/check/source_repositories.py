"""``source-repository-*``: ``NAME TYPE DESTINATION LOCATION [REF]``, one a line.

That is how ``stages.element.source_repositories`` reads it. No variable is asked for: one that a line names
stands for a word that could be anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from blockdev.core.errors import UsageError
from builder.elements.check.finding import ERROR, WARNING, Finding
from stages.element.resolve import Element
from stages.element.source_repositories import KINDS, expand, override

_VARIABLE = re.compile(r"\$\{?([A-Za-z_]\w*)")
Fault = tuple[str, str, str]  # severity, code, sentence


def _fields(line: str) -> list[str]:
    """The line's words; each variable stays as ``$NAME``. UsageError for what the shell's rules do not allow."""
    variables = {name: f"${name}" for name in _VARIABLE.findall(line)}
    return expand(re.sub(r"\\(.)", r"\1", line), variables, "").split()


def _faults(fields: list[str]) -> Iterator[Fault]:
    name, kind, *rest = fields if len(fields) > 1 else [*fields, ""]
    if kind not in KINDS and "$" not in kind:
        yield ERROR, "source-repository", f"{' '.join(fields)!r} names no source repository: expected NAME TYPE ..."
        return
    destination = rest.pop(0) if rest and rest[0].startswith(("/", "$")) else ""
    location, ref, more = [*rest, "", ""][0], rest[1:2], rest[2:]
    if not destination and kind != "tar":
        yield ERROR, "source-repository", f"the source repository {name!r} has no destination, an absolute path"
    if not location:
        text = f"the source repository {name!r} has no location: {override('DIB_REPOLOCATION_', name)} must have it"
        yield WARNING, "source-location", text
    if more:
        yield ERROR, "source-repository", f"{more[0]!r} is one field too many"
    if kind == "package":
        text = f"{name}: a repository of type package fails wherever its install type is source, which is the default"
        yield WARNING, "source-package", text
    if kind == "tar" and location and not ref:
        yield WARNING, "source-ref", f"{name}: without a folder in it (`.` is all of it), a tar file's is guessed: *"


def check(element: Element) -> Iterator[Finding]:
    """What is wrong in the element's source-repository files."""
    for file in sorted(element.path.glob("source-repository-*")):
        if file.is_file() and not file.name.endswith("~"):
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
    before, start = "", 0
    for number, line in enumerate(lines, 1):
        if line.endswith("\r"):
            yield Finding(WARNING, "carriage-return", element, file, number, "the line ends with a carriage return")
        start = start or number
        if line.endswith("\\"):  # the next line goes on
            before += line[:-1]
            continue
        whole, before, at, start = before + line, "", start, 0
        try:
            fields = _fields(whole)
        except UsageError as error:
            yield Finding(ERROR, "source-repository", element, file, at, error.what)
            continue
        if not fields or fields[0].startswith("#"):
            continue
        if fields[0] in seen:
            text = f"the repository {fields[0]!r} is in line {seen[fields[0]]}, too"
            yield Finding(WARNING, "twice", element, file, at, text)
        seen.setdefault(fields[0], at)
        for severity, code, text in _faults(fields):
            yield Finding(severity, code, element, file, at, text)
