"""A registry, machines that share nothing else, and a cache that one of them has filled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cache.machines import FIRST, Machines, at
from tests.integration.command import Command
from tests.integration.registry import Running, registry


@pytest.fixture(scope="session")
def running(open_folder: Path) -> Iterator[Running]:
    with registry(open_folder / "cache-registry") as found:
        yield found


@pytest.fixture
def machines(place: Path) -> Machines:
    (place / "elements").mkdir()
    return Machines(place)


@pytest.fixture(scope="session")
def filled(running: Running, open_folder: Path) -> tuple[str, str]:
    """A cache with tiny-os and greeting in it, by name, and the image's digest."""
    first = Command("host", open_folder / "filled-store", open_folder / "filled-out")
    return "filled", first.build("--cache-to", at(running, "filled"), *FIRST).digest()
