"""What elements name: ``element-deps`` and ``element-provides``, unknown names, cycles."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from blockdev.core.suggest import nearest
from builder.elements.check.finding import ERROR, NOTE, WARNING, Finding
from stages.element.resolve import Element, expand, is_bad_name

FILES = ("element-deps", "element-provides")


@dataclass(frozen=True)
class Name:
    """One line of such a file: its number, from 1, and the name on it."""

    line: int
    name: str


def read_names(file: Path) -> list[Name]:
    """The non-blank lines of the file; none where there is no such file."""
    if not file.is_file():
        return []
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return [Name(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]


def kind_of(file: Path) -> str:
    """In words, what lies on the elements path instead of a folder."""
    return "a file" if file.exists() else "a link to nothing"


def check(
    element: Element, universe: Mapping[str, Element], files: Mapping[str, Path], used: bool
) -> Iterator[Finding]:
    """What is wrong with the names in one element's two files.

    ``files`` are the plain files on the elements path by name. ``used`` tells whether the element is meant to be built:
    only then a dependency that exists nowhere is an error, for it stops the builds that use the element and no other.
    """
    virtual = {name for other in universe.values() for name in other.provides}
    for kind in FILES:
        seen: set[str] = set()
        for name in read_names(element.path / kind):
            file = element.path / kind
            if is_bad_name(name.name):
                text = f"{name.name!r} is not an element's name; this file has one name a line, and no comments"
                yield Finding(ERROR, "bad-name", element.name, file, name.line, text)
                continue
            if name.name in seen:
                yield Finding(WARNING, "twice", element.name, file, name.line, f"{name.name!r} is there twice")
            seen.add(name.name)
            if name.name == element.name and kind == "element-deps":
                yield Finding(WARNING, "own-name", element.name, file, name.line, "the element names itself")
            if kind == "element-deps" and name.name not in universe and name.name not in virtual:
                yield _unknown(element, file, name, universe, files, used)


def _unknown(
    element: Element, file: Path, name: Name, universe: Mapping[str, Element], files: Mapping[str, Path], used: bool
) -> Finding:
    severity = ERROR if used else WARNING
    if name.name in files:
        text = f"{name.name!r} is not an element's folder but {kind_of(files[name.name])}: {files[name.name]}"
        return Finding(severity, "element-is-file", element.name, file, name.line, text)
    hint = nearest(name.name, universe.keys() - {element.name})
    text = f"there is no element {name.name!r}" + (f"; {hint}" if hint else "")
    return Finding(severity, "unknown-element", element.name, file, name.line, text)


def closure(names: Collection[str], universe: Mapping[str, Element]) -> set[str]:
    """The elements that a build of ``names`` has: with what they need, without what one of them stands for."""
    return set(expand(names, universe).kept)


def cycles(universe: Mapping[str, Element]) -> list[tuple[str, ...]]:
    """Groups of elements that need each other in a circle, each sorted, the groups too (Tarjan's components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[tuple[str, ...]] = []

    def visit(root: str) -> None:
        work = [(root, iter(universe[root].deps))]
        index[root] = low[root] = len(index)
        stack.append(root)
        while work:
            name, deps = work[-1]
            for dep in deps:
                if dep not in universe:
                    continue
                if dep not in index:
                    index[dep] = low[dep] = len(index)
                    stack.append(dep)
                    work.append((dep, iter(universe[dep].deps)))
                    break
                if dep in stack:
                    low[name] = min(low[name], index[dep])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[name])
                if low[name] == index[name]:
                    at = stack.index(name)
                    group = stack[at:]
                    del stack[at:]
                    if len(group) > 1:
                        groups.append(tuple(sorted(group)))

    for name in sorted(universe):
        if name not in index:
            visit(name)
    return sorted(groups)


def check_cycles(universe: Mapping[str, Element], names: Collection[str]) -> Iterator[Finding]:
    """A warning for each circle that has one of ``names``: builds take it as a set of elements that belong together."""
    for group in cycles(universe):
        if not set(group) & set(names):
            continue
        first = universe[group[0]]
        file = first.path / "element-deps"
        line = next((name.line for name in read_names(file) if name.name in group and name.name != first.name), 0)
        text = f"these elements need each other in a circle: {', '.join(group)}"
        yield Finding(WARNING, "cycle", first.name, file, line, text)


def check_shadows(element: Element) -> Iterator[Finding]:
    """A note for each folder of the same name later on the path."""
    for other in element.shadows:
        text = f"this folder is used; the one of the same name later on the path is not: {other}"
        yield Finding(NOTE, "shadows", element.name, element.path, 0, text)
