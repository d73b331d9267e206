"""What goes wrong only when elements are used together: the same file from two, the same name provided by two."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from pathlib import Path

from builder.elements.check.dependencies import closure, read_names
from builder.elements.check.finding import ERROR, WARNING, Finding
from stages.element.hook_checks import is_in_phase
from stages.element.resolve import Element

Files = Mapping[str, Mapping[str, Path]]  # of each element, by path in it


def _clash(path: str, ours: Path, other: Path) -> bool:
    """Do two files with the same path in their elements stop a build? Deeper down only if they differ."""
    if path.count("/") == 0:
        return False
    if path.count("/") == 1:
        return True
    try:
        return ours.read_bytes() != other.read_bytes()
    except OSError:
        return False  # the check of each file says so


def shared_files(files: Files) -> dict[tuple[str, str], list[str]]:
    """The paths that two elements both bring and no build could merge, by pair of elements."""
    holders: defaultdict[str, list[str]] = defaultdict(list)
    for element in sorted(files):
        for path in files[element]:
            holders[path].append(element)
    pairs: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for path, elements in sorted(holders.items()):
        for first, other in combinations(elements, 2):
            if _clash(path, files[first][path], files[other][path]):
                pairs[first, other].append(path)
    return dict(pairs)


def check(groups: Iterable[Iterable[str]], universe: Mapping[str, Element], files: Files) -> Iterator[Finding]:
    """Errors for what is in one build, warnings for scripts of one name in elements that could be.

    Each group is the names that are asked for together; ``files`` are those of all elements of ``universe``.
    """
    asked = [list(group) for group in groups]
    built = [closure(group, universe) for group in asked]
    looked_at = {name for group in asked for name in group}
    for (first, other), paths in shared_files(files).items():
        at = next((index for index, names in enumerate(built) if {first, other} <= names), None)
        if at is not None:
            by = "" if {first, other} <= set(asked[at]) else f", which {' '.join(asked[at])} brings together"
            for path in paths:
                text = f"{path} is in {first} and in {other}{by}"
                yield Finding(ERROR, "same-file", other, files[other][path], 0, text)
        elif {first, other} & looked_at and not _exclude_each_other(universe[first], universe[other]):
            for path in paths:
                if is_in_phase(path):
                    text = f"{path} is in {first}, too: the two cannot be used together"
                    yield Finding(WARNING, "same-script", other, files[other][path], 0, text)
    for group, names in zip(asked, built, strict=True):
        yield from _provided_twice(group, names, universe)


def _exclude_each_other(first: Element, other: Element) -> bool:
    return bool({*first.provides} & {*other.provides} or first.name in other.provides or other.name in first.provides)


def _provided_twice(asked: list[str], names: set[str], universe: Mapping[str, Element]) -> Iterator[Finding]:
    providers: defaultdict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        for virtual in universe[name].provides:
            providers[virtual].append(name)
    for virtual, elements in sorted(providers.items()):
        if len(elements) > 1:
            element = universe[elements[1]]
            file = element.path / "element-provides"
            line = next((name.line for name in read_names(file) if name.name == virtual), 0)
            text = f"{virtual!r} is provided by {' and '.join(elements)}, all part of what {' '.join(asked)} needs"
            yield Finding(ERROR, "provided-twice", element.name, file, line, text)
