"""The table of upstream's elements: what exercises each of them, or why nothing here can."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

TABLE = Path(__file__).with_name("elements.yaml")
FILES = Path(__file__).with_name("files")
SYSTEM = "debian-minimal"
KINDS = ("hardware", "distribution", "licence", "network", "upstream")
_KEYS = {"with", "set", "output", "cannot", "kind", "note", "packages", "system", "compare", "index"}


@dataclass(frozen=True)
class Row:
    """One element: the build that exercises it, or ``cannot`` with the reason and its kind."""

    name: str
    beside: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    output: str = "tar"
    system: bool = True
    cannot: str = ""
    kind: str = ""
    note: str = ""
    compare: bool = False
    index: tuple[str, ...] = ()

    @property
    def elements(self) -> tuple[str, ...]:
        """The elements that a build of this row names."""
        return (*((SYSTEM,) if self.system else ()), self.name, *self.beside)

    def given(self, sources: Path, index: str = "") -> dict[str, str]:
        """Its variables with places filled in.

        ``sources`` is a sources.list of this machine's mirror, ``index`` the address of an index with its packages.
        """
        places = {"{files}": str(FILES), "{sources}": str(sources), "{index}": index}
        found = dict(self.variables)
        for name, place in places.items():
            found = {variable: value.replace(name, place) for variable, value in found.items()}
        return found


def _row(name: str, entry: Mapping[str, Any]) -> Row:
    unknown = set(entry) - _KEYS
    cannot, kind = entry.get("cannot", ""), entry.get("kind", "")
    if unknown or bool(cannot) != bool(kind) or (kind and kind not in KINDS):
        message = f"{TABLE}: {name}: unknown {sorted(unknown)}, or cannot without one of the kinds {', '.join(KINDS)}"
        raise ValueError(message)
    return Row(
        name,
        tuple(entry.get("with", ())),
        dict(entry.get("set", {})),
        tuple(entry.get("packages", ())),
        entry.get("output", "tar"),
        entry.get("system", "yes") != "no",
        cannot,
        kind,
        entry.get("note", ""),
        bool(entry.get("compare", False)),
        tuple(entry.get("index", ())),
    )


def rows(file: Path = TABLE) -> list[Row]:
    """All rows, in the file's order. ValueError naming an entry that is none."""
    return [_row(name, entry or {}) for name, entry in yaml.safe_load(file.read_text()).items()]
