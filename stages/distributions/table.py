"""The table of facts, read: distributions by DISTRO_NAME, with their releases.

The facts stand in YAML files, one a family; each has two documents: the distributions, and where their facts come from.
A build reads ``table.json``, which is made of the first ones (`just docs`; a test wants it current): PyYAML takes 20 ms
to load, for which a build that changes nothing would wait. Which facts there are, and what becomes of them for one
release, says ``stages.distributions.facts``.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blockdev.core.typed_json import Struct, read

FOLDER = Path(__file__).parent
TABLE = FOLDER / "table.json"
ALL = ("amd64", "arm64", "armhf", "i386", "ppc64el", "riscv64", "s390x")  # Debian's names


class Release(Struct):
    """One release: ``name`` is what DIB_RELEASE says, ``version`` its number where the name is a word.

    ``released`` is its first day, ``end`` the last one (both ISO 8601, "": not known) on which the distribution's own
    free security updates come, long-term support by the distribution included. ``architectures`` are Debian's names
    (empty: all that the distribution has). ``facts`` are those of this release alone.
    """

    name: str
    version: str = ""
    released: str = ""
    end: str = ""
    architectures: tuple[str, ...] = ()
    facts: Mapping[str, Any] = {}


class Distribution(Struct):
    """A distribution by its DISTRO_NAME; ``releases`` are the newest first, ``rolling`` those without a number.

    ``architectures`` has the distribution's own names by Debian's, or mappings (``name`` and others) of what else an
    architecture is called. ``newer`` (a regular expression) is the form of numbers to come, ``days`` that of days of an
    archive; ``prefix`` and ``suffix`` may be left out of a name, and ``minor`` says that a release's name may go on
    with the number of a minor one. ``facts`` are those of all releases that do not say otherwise.
    """

    name: str
    title: str
    architectures: Mapping[str, Any]
    releases: tuple[Release, ...] = ()
    rolling: tuple[Release, ...] = ()
    newer: str = ""
    days: str = ""
    prefix: str = ""
    suffix: str = ""
    minor: bool = False
    facts: Mapping[str, Any] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """All names that are known, numbered releases first."""
        return tuple(release.name for release in (*self.releases, *self.rolling))

    def full(self, release: str) -> str:
        """A release's name with the parts that may be left out."""
        prefix = self.prefix if release[:1].isdigit() else ""
        suffix = self.suffix if release[:1].isdigit() else ""
        return prefix + release.removesuffix(suffix) + suffix

    def find(self, release: str) -> Release | None:
        """The release of a name, None where it is not known; a day of an archive is one that nothing is known of."""
        names = (release, self.full(release))
        for each in self.rolling:
            if each.name == release:
                return each
        if self.days and re.fullmatch(self.days, release):
            return Release(name=release)
        for each in self.releases:
            minor = re.compile(rf"{re.escape(each.name)}\.\d+") if self.minor else None
            if each.name in names or (minor and any(map(minor.fullmatch, names))):
                return each
        return None


@functools.cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return table


def names() -> tuple[str, ...]:
    """The DISTRO_NAME of every distribution that is known."""
    return tuple(_table())


def of(name: str, values: Mapping[str, Any]) -> Distribution:
    """A distribution from its values in a file of facts; raises ValueError for values of another form."""
    fields: dict[str, Any] = {**values, "name": name}
    for kind in ("releases", "rolling"):
        fields[kind] = [{**(about or {}), "name": release} for release, about in fields.get(kind, {}).items()]
    return read(Distribution, fields)


@functools.cache
def find(name: str) -> Distribution | None:
    """A distribution by its DISTRO_NAME; None for one that is not known."""
    values = _table().get(name)
    return None if values is None else of(name, values)
