"""dnf, zypper and pacman with bad mirrors, and what their caches keep; from small synthetic mirrors, faultily served.

``just test-all -k bad_mirrors`` runs them.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.command import Command, Outcome, write_element
from tests.integration.synthetic import mirrors_folder
from tests.mirrors import small
from tests.mirrors.debian import DebianTree
from tests.mirrors.faulty import Fault, FaultyMirror, serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough("the faults of mirrors for each package manager; `just test` has apt's"),
]


@dataclass(frozen=True)
class Served:
    """A family's mirror, its server, and builds from it."""

    family: small.Family
    settings: Mapping[str, str]
    server: FaultyMirror
    folder: Path

    def command(self, store: str) -> Command:
        """dib-ctr with a store of this name."""
        return Command("host", self.folder / store, self.folder / f"{store}-out", (self.folder / "elements",))

    def arguments(self, *options: str, **more: str) -> list[str]:
        """The words of a build with two elements that ask for a package each, in one phase."""
        settings = {**self.settings, "DIB_DISTRIBUTION_MIRROR": self.server.address, **more}
        words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        return ["build", *words, "-o", "tar", *options, self.family.element, "asks-one", "asks-more"]

    def build(self, *options: str, store: str, status: int = 0, proxy: str = "", **more: str) -> Outcome:
        """Build; fails where it ends with another status."""
        variables = {"http_proxy": proxy} if proxy else None
        outcome = self.command(store)(*self.arguments(*options, **more), variables=variables)
        assert outcome.status == status, f"{outcome.stdout[-6000:]}\n{outcome.stderr}"
        return outcome


@pytest.fixture(scope="module")
def folder(open_folder: Path) -> Iterator[Path]:
    yield from mirrors_folder(open_folder, "bad-mirrors")


# zypper waits for a minute, always, and half a minute between attempts.
@pytest.fixture(scope="module", params=small.FAMILIES)
def served(request: pytest.FixtureRequest, folder: Path, small_tree: DebianTree) -> Iterator[Served]:
    family = small.FAMILIES[request.param]
    place = folder / family.name
    place.mkdir()
    for name, package in (("asks-one", small.EXTRA), ("asks-more", family.more)):
        write_element(place / "elements", name, {"package-installs.yaml": f"{package}:\n"})
    settings = small.make(family, place / "mirror", small_tree)
    with serving(place / "mirror") as server:
        yield Served(family, settings, server, place)
    shutil.rmtree(place, ignore_errors=True)


def faults(family: small.Family) -> list[tuple[Fault, str]]:
    """Faults that end a build, and what is said of each."""
    broken = "does not answer, is too slow, or breaks off"
    lies = "does not match its index"
    signed = "is not what was signed"  # dnf looks at the index's digest before the signature, the others do not
    found = [(Fault(family.package, "wrong"), lies if family.name == "fedora" else signed)]
    if family.name == "arch":  # its lists are signed by nobody
        return [*found, (Fault(family.package, "cut", 1000), broken)]
    found += [(Fault(family.index, "hang"), broken), (Fault(family.package, "cut", 1000), broken)]
    return [(Fault(family.index, "wrong"), lies), *found]


def test_faults_are_named(served: Served) -> None:
    family, server = served.family, served.server
    for fault, what in faults(family):
        with server.failing(fault):
            failed = served.build(store="store", status=1, DIB_MIRROR_TIMEOUT="1")
        assert fault.met, fault
        assert f"why:   the mirror {server.address}: " in failed.stderr, (fault, failed.stderr)
        assert what in failed.stderr, (fault, failed.stderr)
    assert not list((served.folder / "store/cache").rglob("bash-*")), "what a failed stage downloads is thrown away"


def test_a_store_that_met_faults_is_as_good_as_a_fresh_one(served: Served) -> None:
    """After builds that failed it gives what a fresh one does, whose mirror fails once at each thing."""
    family, server = served.family, served.server
    once = [Fault(family.package, "cut", 1000, times=1), Fault(family.index, "status", 503, times=1)]
    with server.failing(*once):
        if family.name == "arch":  # its mirror's address stays in the image
            fresh = served.build(store="fresh").digest("tar")
        else:  # nobody but the proxy knows the name
            name = "http://mirror.invalid"
            fresh = served.build(store="fresh", proxy=server.address, DIB_DISTRIBUTION_MIRROR=name).digest("tar")
            assert [address for address in server.through if re.search(family.package, address)]
    assert [fault.met for fault in once] == [1, 1]
    server.asked.clear()
    again = served.build(store="store")
    assert again.digest("tar") == fresh
    # Lists and packages are fetched once for all stages; the plan asks for the signed index, before and afterwards. The
    # tree's dnf5 has its own folder for both.
    assert server.count(family.index) <= 1 + (family.name == "fedora") + 2 * (family.name == "arch")
    assert server.count(family.package) <= 1
    transactions = [event["number"] for event in again.events if family.transaction in str(event.get("text"))]
    assert len(transactions) == len(set(transactions)) == 2, "the bootstrap's, and one for both elements"
    server.asked.clear()
    if family.name != "arch":  # pacman's lists are in the tree, from the bootstrap on
        assert served.build("--offline", "--no-cache", store="store").digest("tar") == fresh
        assert not server.asked


def test_two_builds_at_once_share_the_caches(served: Served) -> None:
    """Every key of theirs differs, so that both run every stage; none waits for the other one, none is in its way."""
    command = served.command("at-once")
    running = [
        command.start(*served.arguments("--name", f"build-{number}", SOURCE_DATE_EPOCH=str(1_770_000_000 + number)))
        for number in range(2)
    ]
    for process in running:
        stdout, stderr = process.communicate()
        assert process.returncode == 0, f"{stdout[-3000:]}\n{stderr}"
        assert '"type": "wait"' not in stdout
