"""The rows of the matrix: a distribution's release on one architecture, and whether its disk is started, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

FILE = Path(__file__).with_name("rows.yaml")
REAL, SYNTHETIC = "real", "synthetic"


@dataclass(frozen=True)
class Row:
    """One row; ``mirror`` is real or synthetic.

    ``main_only``: from Debian's main suite alone; mirrors may have other lists of updates than their index says.
    """

    distribution: str
    element: str
    release: str
    arch: str
    mirror: str
    disk: bool
    main_only: bool = False

    @property
    def name(self) -> str:
        """What the row is called on the command line and in results."""
        return "-".join(self.source)

    @property
    def source(self) -> tuple[str, str, str]:
        """What a mirror has for it: distribution, release, architecture."""
        return self.distribution, self.release, self.arch


def rows(file: Path = FILE) -> tuple[Row, ...]:
    """All rows, in the order of the file."""
    return tuple(
        Row(
            *(each["distribution"], each["element"], str(each["release"]), arch, each["mirror"]),
            disk=arch in each["disks"],
            main_only=each.get("suites") == "main",
        )
        for each in yaml.safe_load(file.read_text(encoding="utf-8"))
        for arch in each["architectures"]
    )


def chosen(words: Sequence[str], table: Sequence[Row]) -> tuple[Row, ...]:
    """The rows that words name (distribution, release, architecture, or a row's whole name); all without any word.

    A row counts where every kind of word that is there names it. Raises ValueError for a word that names none.
    """
    kinds = {"distribution": set[str](), "release": set[str](), "arch": set[str](), "name": set[str]()}
    for word in words:
        kind = next((kind for kind in kinds if any(getattr(row, kind) == word for row in table)), None)
        if kind is None:
            known = sorted({word for row in table for word in (row.distribution, row.release, row.arch)})
            raise ValueError(f"{word!r} is in no row of the matrix; there is: {', '.join(known)}")
        kinds[kind].add(word)
    return tuple(row for row in table if all(not given or getattr(row, kind) in given for kind, given in kinds.items()))
