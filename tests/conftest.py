"""Marks follow from the folder a test lies in: tests/unit -> unit, tests/integration -> integration."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import examples, upstream

FOLDER_MARKS = ("unit", "integration")
TESTS = Path(__file__).parent
# Files whose tests are quick, each for itself, and take minutes together.
LONG = ("test_base_image.py", "test_layers.py", "test_run_script.py", "test_source_repositories.py")
# Seconds that a test may take with its fixtures, where it says nothing itself (``pytest.mark.timeout``): many times
# what it takes on a slow machine beside others. A thorough one may be the first to build a machine, interpreted.
LIMITS = {"unit": 120, "integration": 600, "thorough": 2400}
# Test files run side by side, so how long an example takes says nothing of it.
SIDE_BY_SIDE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", SIDE_BY_SIDE, max_examples=examples.QUICK)
settings.register_profile("whole", SIDE_BY_SIDE, max_examples=examples.WHOLE)
settings.load_profile("quick")


def pytest_configure(config: pytest.Config) -> None:
    """Name a folder that all processes of this run share (``tests.integration.conftest``); nobody makes it unasked.

    Where thorough tests run, Hypothesis is thorough, too.
    """
    if config.getoption("markexpr") != "not thorough":
        settings.load_profile("whole")
    if "DIB_CTR_TEST_SHARED" not in os.environ:
        name = f"/var/tmp/dib-ctr-test-{secrets.token_hex(4)}"
        os.environ["DIB_CTR_TEST_SHARED"] = name
        config.add_cleanup(lambda: shutil.rmtree(name, ignore_errors=True))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test the mark of its folder; long files and those of slow tests go first: none is waited for last."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in FOLDER_MARKS:
            item.add_marker(folder)
        thorough = item.get_closest_marker("thorough")
        if thorough and not thorough.args:
            raise pytest.UsageError(f"{item.nodeid}: the marker thorough takes a line that says why")
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LIMITS["thorough" if thorough else folder]))
    quick = {item.path for item in items if not item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path in quick and item.path.name not in LONG)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the tables that tests have recorded (``record_property("table", text)``), wherever these have run."""
    for report in (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")):
        for name, text in report.user_properties:
            if name == "table":
                terminalreporter.section(report.nodeid, sep="-")
                terminalreporter.write_line(str(text))


@pytest.fixture(scope="session")
def upstream_elements() -> Path:
    """The folder of diskimage-builder's own elements (tests/upstream.py)."""
    return upstream.elements()


@pytest.fixture(autouse=True)
def _same_folder() -> Iterator[None]:
    """No test leaves the process elsewhere: what a later one says of relative paths would depend on their order."""
    before = Path.cwd()
    yield
    after = Path.cwd()
    os.chdir(before)
    assert after == before
