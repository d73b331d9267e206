"""The files of facts (``stages/distributions/*.yaml``): what each has of its distributions, and where it comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import yaml

from stages.distributions.table import FOLDER, TABLE, Distribution, of

_TIMESTAMP: Final = "tag:yaml.org,2002:timestamp"
RELEASES: Final = "releases"  # the fact of which releases there are, when they began, and when they end
ARCHITECTURES: Final = "architectures"


class _Loader(yaml.SafeLoader):
    """Days stay texts."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in forms if tag != _TIMESTAMP]
    for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True)
class Source:
    """Where facts come from: a file of a public project in a state of it, or why they are ``unconfirmed``.

    ``facts`` are their names (``packages.kernel``; ``packages`` for all below), ``of`` the distributions that are meant
    (all of the file, where it is empty). ``seen`` is the day of the state that was read: that of its commit, or of its
    package.
    """

    facts: tuple[str, ...]
    of: tuple[str, ...] = ()
    project: str = ""
    path: str = ""
    state: str = ""
    seen: str = ""
    unconfirmed: str = ""

    def covers(self, distribution: str, fact: str) -> bool:
        """Does it say where this fact of a distribution comes from?"""
        if self.of and distribution not in self.of:
            return False
        return any(fact == each or fact.startswith(f"{each}.") for each in self.facts)

    @property
    def day(self) -> date | None:
        """The day of ``seen``."""
        return date.fromisoformat(self.seen) if self.seen else None


@dataclass(frozen=True)
class Family:
    """One file: its name without suffix, its distributions in their order, and the sources of what it says."""

    name: str
    distributions: tuple[Distribution, ...]
    sources: tuple[Source, ...]


def _documents(file: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    first, second = yaml.load_all(file.read_text(encoding="utf-8"), Loader=_Loader)
    return first, second


def families(folder: Path = FOLDER) -> tuple[Family, ...]:
    """All files; raises ValueError for values of another form."""
    found = []
    for file in sorted(folder.glob("*.yaml")):
        distributions, sources = _documents(file)
        found.append(
            Family(
                file.stem,
                tuple(of(name, values) for name, values in distributions.items()),
                tuple(Source(**{name: _fixed(value) for name, value in each.items()}) for each in sources),
            )
        )
    return tuple(found)


def _fixed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def names(distribution: Distribution) -> Iterator[str]:
    """The names of all facts that a distribution or one of its releases has, each once."""
    found = dict.fromkeys((RELEASES, ARCHITECTURES) if distribution.releases else (ARCHITECTURES,))
    for facts in (distribution.facts, *(each.facts for each in (*distribution.releases, *distribution.rolling))):
        for name, value in facts.items():
            inner = value if name == "packages" else ()
            found |= {f"{name}.{each}": None for each in inner} if inner else {name: None}
    return iter(found)


def table(folder: Path = FOLDER) -> str:
    """The text of ``table.json``: the distributions of all files, as a build reads them."""
    found: dict[str, Any] = {}
    for file in sorted(folder.glob("*.yaml")):
        found |= _documents(file)[0]
    lines = (f" {json.dumps(name)}: {json.dumps(values)}" for name, values in found.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def write_table() -> None:
    """Write the table."""
    TABLE.write_text(table(), encoding="utf-8")
