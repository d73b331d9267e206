"""Marks follow from the folder a test lies in: tests/unit -> unit, tests/integration -> integration."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import upstream

FOLDER_MARKS = ("unit", "integration")
TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test the mark of its folder."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in FOLDER_MARKS:
            item.add_marker(folder)


@pytest.fixture(scope="session")
def upstream_elements() -> Path:
    """The folder of diskimage-builder's own elements (tests/upstream.py)."""
    return upstream.elements()
