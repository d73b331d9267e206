"""The whole check: every element of an elements path, or those that are named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blockdev.core.errors import UsageError
from blockdev.core.suggest import nearest
from builder.elements.check import (
    conflicts,
    dependencies,
    file_names,
    package_files,
    scripts,
    secret_names,
    source_repositories,
    yaml_files,
)
from builder.elements.check.finding import ERROR, WARNING, Finding, order
from stages.element.resolve import Element, find_elements


@dataclass(frozen=True)
class Report:
    """What was found, in order, and the names of the elements that were looked at."""

    findings: tuple[Finding, ...]
    elements: tuple[str, ...]

    def count(self, severity: str) -> int:
        """How many findings of one severity there are."""
        return sum(finding.severity == severity for finding in self.findings)

    def passed(self, strict: bool) -> bool:
        """Is there no error, and with ``strict`` no warning?"""
        return self.count(ERROR) == 0 and not (strict and self.count(WARNING))


def plain_files(paths: Sequence[Path]) -> dict[str, Path]:
    """The files (and broken links) on the elements path that may be meant as elements: no dot in their names."""
    files: dict[str, Path] = {}
    for path in paths:
        for entry in sorted(path.iterdir()):
            if "." not in entry.name and not entry.name.startswith("__") and not entry.is_dir():
                files.setdefault(entry.name, entry)
    return files


def _readme(element: Element) -> Iterator[Finding]:
    if not any((element.path / name).is_file() for name in ("README.rst", "README.md", "README")):
        yield Finding(WARNING, "no-readme", element.name, element.path, 0, "there is no README.rst that describes it")


def alone(
    element: Element, universe: Mapping[str, Element], plain: Mapping[str, Path], files: Mapping[str, Path], used: bool
) -> Iterator[Finding]:
    """What is wrong with one element, whatever it is used with."""
    yield from dependencies.check_shadows(element)
    yield from dependencies.check(element, universe, plain, used)
    yield from package_files.check_installs(element)
    yield from package_files.check_old_installs(element, files)
    yield from package_files.check_map(element)
    yield from package_files.check_services(element)
    yield from source_repositories.check(element)
    yield from secret_names.check(element)
    yield from yaml_files.check(element, files)
    yield from file_names.check(element, files)
    yield from file_names.left_out(element, files)
    yield from scripts.check(element, files)
    yield from _readme(element)


def _stray(plain: Mapping[str, Path], universe: Mapping[str, Element]) -> Iterator[Finding]:
    for name, file in plain.items():
        if name not in universe:
            text = f"{name} is {dependencies.kind_of(file)}, not an element's folder"
            yield Finding(WARNING, "element-is-file", "", file, 0, text)


def check(paths: Sequence[Path], names: Sequence[str] = (), hidden: Sequence[Path] = ()) -> Report:
    """Look at all elements on the path, or only at ``names``, and say what is wrong or odd; nothing is run.

    With names, what they need is looked up too, and they are taken as one build: the same file in two of them is an
    error, and so is a dependency that exists nowhere. Without, such a dependency is a warning: it stops only who uses
    the element. Elements below ``hidden`` are known but not looked at where no names are given. Raises UsageError for
    a path that is no folder and for a name that is no element.
    """
    universe = find_elements(paths)
    plain = plain_files(paths)
    findings: list[Finding] = []
    for name in names:
        if name not in universe and name in plain:
            raise UsageError(f"{name!r} is a file, not an element's folder", where=str(plain[name]))
        if name not in universe:
            raise UsageError(
                f"there is no element {name!r}", hint=nearest(name, universe) or "`dib-ctr elements` lists all"
            )
    looked_at = list(dict.fromkeys(names)) or [
        name for name in sorted(universe) if not any(universe[name].path.is_relative_to(path) for path in hidden)
    ]
    files = {name: scripts.files(element) for name, element in universe.items()}
    for name in looked_at:
        findings += alone(universe[name], universe, plain, files[name], used=bool(names))
    if names:
        needed = sorted(dependencies.closure(names, universe) - set(looked_at))
        for name in needed:  # a build of the names needs these, too
            findings += dependencies.check(universe[name], universe, plain, used=True)
    else:
        findings += _stray(plain, universe)
    findings += dependencies.check_cycles(universe, looked_at)
    groups = [looked_at] if names else [[name] for name in looked_at]
    findings += conflicts.check(groups, universe, files)
    return Report(tuple(sorted(dict.fromkeys(findings), key=order)), tuple(looked_at))
