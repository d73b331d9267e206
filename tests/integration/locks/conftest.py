"""A mirror that moves, and a command that builds from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.aptmirror import AptMirror, serving
from tests.integration.command import ELEMENTS, Command


@pytest.fixture
def mirror(place: Path) -> Iterator[AptMirror]:
    with serving(place) as made:
        made.write_system(place / "elements")
        yield made


@pytest.fixture
def command(place: Path, mirror: AptMirror) -> Command:
    return Command("host", place / "store", place / "out", (place / "elements", ELEMENTS))
