"""The table of diskimage-builder's release notes: each note once, with what became of it."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/compatibility.md"
STATES = {"kept", "differs", "does not apply"}


def test_every_release_note_is_there_once_with_what_became_of_it() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## Release notes\n")[2]
    count = int(re.findall(r"All (\d+) release notes", section)[0])
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    assert all(len(row) == 3 for row in rows)
    assert {state for _, state, _ in rows} == STATES
    names = [name for notes, _, _ in rows for name in re.findall(r"`([^`]+)`", notes)]
    assert len(names) == len(set(names)) == count
