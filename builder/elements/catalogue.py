"""What `dib-ctr elements` shows: all elements with a line each, or one with everything about it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from blockdev.core.errors import UsageError
from blockdev.core.suggest import nearest
from builder.progress.report import table
from builder.request.elements import elements_path
from builder.request.releases import support
from builder.request.releases.check import distribution_of
from stages.element.hooks import PHASES, merge, scripts
from stages.element.resolve import BUILTIN, Element, find_elements

VARIABLE = re.compile(r"\bDIB_[A-Z0-9_]+\b")


def universe(path: str, environment: Mapping[str, str]) -> dict[str, Element]:
    """Every element on the elements path."""
    return find_elements(elements_path(path, environment))


def _readme(element: Element) -> str:
    for name in ("README.md", "README.rst", "README"):
        file = element.path / name
        if file.is_file():
            return file.read_text(encoding="utf-8", errors="replace")
    return ""


def description(element: Element) -> str:
    """The first sentence of the first paragraph of the element's README, or ""."""
    paragraph: list[str] = []
    for line in _readme(element).splitlines():
        text = line.strip()
        if not text and paragraph:
            break
        if not text or text.startswith("#") or set(text) <= set("=-~*^") or text == element.name:
            continue
        paragraph.append(text)
    first = re.split(r"(?<=[.!?])\s", " ".join(paragraph), maxsplit=1)[0]
    return first if len(first) <= 100 else first[:97] + "..."


def rows(elements: Mapping[str, Element]) -> list[tuple[str, str]]:
    """Name and description of each element, sorted."""
    return [(name, description(elements[name])) for name in sorted(elements)]


def listing(pairs: Sequence[tuple[str, str]]) -> str:
    """The list as text."""
    return table(pairs) if pairs else "no elements"


def element_called(name: str, elements: Mapping[str, Element]) -> Element:
    """The element of a name; raises UsageError naming the nearest where there is none."""
    element = elements.get(name)
    if element is None:
        raise UsageError(
            f"there is no element {name!r}", hint=nearest(name, elements) or "`dib-ctr elements` lists all"
        )
    return element


def describe(name: str, elements: Mapping[str, Element]) -> dict[str, Any]:
    """Everything about one element; raises UsageError naming the nearest where there is none."""
    element = element_called(name, elements)
    tree = merge([(name, element.path)])
    return {
        "name": name,
        "description": description(element),
        "path": str(element.path),
        "origin": "built in" if element.path.is_relative_to(BUILTIN) else "elements path",
        "instead of": [str(path) for path in element.shadows],
        "releases": support.described(distribution_of(element)),
        "architectures": support.architectures(distribution_of(element)),
        **({"wrong": f"{element.fault.what} ({element.fault.where})"} if element.fault else {}),
        "needs": list(element.deps),
        "provides": list(element.provides),
        "scripts": {
            phase.name: [hook.path.rpartition("/")[2] for hook in scripts(tree, phase)]
            for phase in PHASES
            if scripts(tree, phase)
        },
        "variables": sorted(set(VARIABLE.findall(_readme(element)))),
        "files": sorted(path for path in tree if not tree[path].is_script),
    }


def page(description: Mapping[str, Any]) -> str:
    """One element's description as text."""
    lines = []
    for label, value in description.items():
        if isinstance(value, dict):
            lines += [f"{label}:"] + [f"  {phase:14} {', '.join(names)}" for phase, names in value.items()]
        elif isinstance(value, list):
            lines += [f"{label}: {', '.join(value)}"] if value else []
        elif value:
            lines.append(f"{label}: {value}")
    return "\n".join(lines)
