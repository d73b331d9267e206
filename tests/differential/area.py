"""What an area of the comparison is: where its examples come from, how the two are asked, why they may differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from tests.differential.ask import Program
from tests.differential.compare import Answer, Example, Reason


@dataclass(frozen=True)
class Area:
    """``both`` writes an example's files into a folder and gives the answers: diskimage-builder's, then dib-ctr's.

    ``share`` is how many of a run's examples are this area's, of 100.
    """

    name: str
    share: int
    examples: st.SearchStrategy[Example]
    both: Callable[[Example, Program, Path], tuple[Answer, Answer]]
    reasons: Mapping[str, Reason]


def write(folder: Path, files: Mapping[str, Any]) -> None:
    """Write a tree: a text is a file, a map a folder, ``-> NAME`` a link."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        place = folder / name
        if isinstance(content, Mapping):
            write(place, content)
        elif content.startswith("-> "):
            place.symlink_to(content.removeprefix("-> "))
        else:
            place.write_text(content, encoding="utf-8")
