"""Each property of the synthetic RPM mirrors is met rightly by a build; switched off, the test of it fails."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.integration.command import write_element
from tests.integration.rpm_observations import OBSERVATIONS, Finished
from tests.integration.synthetic import EXTRA, check_rpm_tree, mirrors_folder, synthetic
from tests.mirrors import rpmproperties
from tests.mirrors.debian import DebianTree
from tests.mirrors.rpmproperties import NONE, Properties

pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough("two mirrors and two images of each family; `just test` has Fedora's properties"),
]


@dataclass(frozen=True)
class Row:
    """A distribution's release, and what its os-release says."""

    distribution: str
    release: str
    system: str
    version: str
    element: str

    @property
    def name(self) -> str:
        """One word for it."""
        return f"{self.distribution}-{self.release}"


ROWS = (
    Row("fedora", "43", "fedora", "43", "fedora-minimal"),
    Row("fedora", "rawhide", "fedora", "rawhide", "fedora-minimal"),
    Row("centos", "9-stream", "centos", "9", "centos-minimal"),
    Row("rhel", "10", "rhel", "10", "rhel"),
    Row("opensuse", "15.6", "opensuse-leap", "15.6", "opensuse-minimal"),
)
UPDATE = "#!/bin/bash\nset -eu -o pipefail\ninstall-packages vendor-tool=1\ninstall-packages -u\n"


@pytest.fixture(scope="module")
def folder(open_folder: Path) -> Iterator[Path]:
    yield from mirrors_folder(open_folder, "properties")


def _finished(row: Row, folder: Path, tree: DebianTree, properties: Properties, status: int = 0) -> Iterator[Finished]:
    """The image of a mirror that has these properties."""
    for mirror in synthetic(folder, tree, row.distribution, row.release, properties):
        elements = folder / "elements"
        write_element(elements, "updating", {"install.d/50-updating": UPDATE})
        made = replace(mirror, command=replace(mirror.command, elements=(elements,)))
        more = ("updating",) if row.distribution == "opensuse" else ()
        ask = ("--output", "dir,slim=no", "-p", EXTRA, "--name", "tree", row.element, *more)
        done = made.build(*ask, status=status)
        yield Finished(made.command.destination / "tree.dir", done.stdout + done.stderr, made.mirror.folder)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_each_property_is_met_and_without_it_the_test_fails(row: Row, folder: Path, small_tree: DebianTree) -> None:
    """All at once: a mirror with all that the real one has, and one without any of it."""
    properties = rpmproperties.of(row.distribution, row.release)
    for built in _finished(row, folder / row.name / "with", small_tree, properties):
        for name in sorted(properties.names()):
            OBSERVATIONS[name](built)
        check_rpm_tree(built.tree, row.system, row.version)
    passed = []
    for built in _finished(row, folder / row.name / "without", small_tree, NONE):
        for name in sorted(properties.names()):
            try:
                OBSERVATIONS[name](built)
            except (AssertionError, LookupError, OSError):
                continue
            passed.append(name)
        check_rpm_tree(built.tree, row.system, row.version)
    assert not passed, "these pass without what they are the tests of"
