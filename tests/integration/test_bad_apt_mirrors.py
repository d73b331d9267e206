"""apt and a bad mirror: what is said, what is tried again, and what a later build finds in its caches.

The archive is the small one of ``aptmirror``, so that a build takes a few seconds; its server has faults.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration import aptmirror
from tests.integration.command import ELEMENTS, Command, Outcome
from tests.mirrors.faulty import Fault, FaultyMirror, refusing, serving
from tests.mirrors.keys import Key

LISTS, PACKAGE = r"Packages", r"/extra_.*\.deb"


@dataclass(frozen=True)
class Apt:
    """Builds from the archive ``mirror``, which ``served`` serves."""

    mirror: aptmirror.AptMirror
    served: FaultyMirror
    place: Path
    elements: Path

    def build(self, *options: str, store: str = "store", status: int = 0) -> Outcome:
        """Build with the package ``extra``; fails where it ends with another status."""
        command = Command("host", self.place / store, self.place / f"{store}-out", (self.elements, ELEMENTS))
        outcome = command(
            "build", *options, "-o", "tar", "-p", "extra", "--set", "DIB_MIRROR_TIMEOUT=2", "small-debian"
        )
        assert outcome.status == status, f"{outcome.stdout}\n{outcome.stderr}"
        return outcome


@pytest.fixture
def apt(place: Path) -> Iterator[Apt]:
    if not Path("/usr/lib/apt/methods/http").exists():
        pytest.skip("there is no apt")
    elements = place / "elements"
    with aptmirror.serving(place) as mirror, serving(mirror.folder) as served:
        mirror.write_system(elements)
        snippet = elements / "small-debian/environment.d/10-small-debian.bash"
        snippet.write_text(snippet.read_text().replace(mirror.root, served.address))
        yield Apt(mirror, served, place, elements)


TOLD = [
    (Fault(LISTS, "status", 503), "does not answer, is too slow, or breaks off"),
    (Fault(LISTS, "cut", 20), "does not answer, is too slow, or breaks off"),
    (Fault(LISTS, "wrong"), "does not match its index"),
    (Fault(LISTS, "hang"), "does not answer, is too slow, or breaks off"),
    (Fault(PACKAGE, "status", 404), "has not got what its index names"),
    (Fault(PACKAGE, "wrong"), "does not match its index"),
    (Fault(PACKAGE, "instead", content=b"short"), "does not match its index"),
    (Fault(PACKAGE, "drop"), "does not answer, is too slow, or breaks off"),
]


@pytest.mark.thorough("a build for each fault; `just test` has those that follow")
def test_each_fault_is_named_and_poisons_nothing(apt: Apt) -> None:
    """All one after another with one store; then the good mirror gives what it gives to a store of its own."""
    for fault, what in TOLD:
        with apt.served.failing(fault):
            failed = apt.build(status=1)
        assert fault.met, fault
        assert f"why:   the mirror {apt.served.address}: " in failed.stderr, (fault, failed.stderr)
        assert what in failed.stderr, (fault, failed.stderr)
        assert "next:  " in failed.stderr
    assert apt.build().digest("tar") == apt.build(store="store-fresh").digest("tar")


@pytest.mark.thorough("a build for each fault")
@pytest.mark.parametrize(
    "fault",
    [Fault(LISTS, "status", 503, 1), Fault(PACKAGE, "cut", 300, 1), Fault(PACKAGE, "drop", times=1)],
    ids=lambda fault: fault.kind,
)
def test_what_fails_once_is_tried_again(apt: Apt, fault: Fault) -> None:
    with apt.served.failing(fault):
        apt.build()
    assert fault.met == 1


def test_an_index_that_was_changed_after_it_was_signed(apt: Apt) -> None:
    """The build fails, and what was built before is still there for one that is offline."""
    good = apt.build().digest("tar")
    index = apt.mirror.archive / "dists" / aptmirror.SUITE / "InRelease"
    signed = index.read_bytes()
    index.write_bytes(signed.replace(b"Origin: Tests", b"Origin: Thief"))
    failed = apt.build(status=1)
    assert "changed, or damaged on the way" in failed.stderr
    assert apt.build("--offline").digest("tar") == good
    index.write_bytes(signed)
    assert apt.build("--no-cache").digest("tar") == good


def test_a_key_that_has_expired(apt: Apt) -> None:
    key = Key.make(apt.place / "old", "Expired", expires="1d", clock="20200101T000000")
    try:
        dists = apt.mirror.archive / "dists" / aptmirror.SUITE
        text = (dists / "InRelease").read_text().partition("\n\n")[2].partition("-----BEGIN PGP SIGNATURE")[0]
        (dists / "InRelease").write_bytes(key.clear_sign(text.encode()))
        (apt.elements / "small-debian/static/mirror.gpg").write_bytes(key.public(armor=False))
        failed = apt.build(status=1)
        assert "the key that signed it has expired" in failed.stderr, failed.stderr
    finally:
        subprocess.run(["gpgconf", "--homedir", str(apt.place / "old"), "--kill", "all"], check=False)
        shutil.rmtree(apt.place / "old", ignore_errors=True)


def test_nobody_at_the_mirrors_address(apt: Apt) -> None:
    snippet = apt.elements / "small-debian/environment.d/10-small-debian.bash"
    snippet.write_text(snippet.read_text().replace(apt.served.address, refusing()))
    failed = apt.build(status=1)
    assert "the repository 'default' does not answer: [Errno 111] Connection refused" in failed.stderr


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_a_proxy_gets_what_apt_asks(apt: Apt, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mirror's name is known to nobody but the proxy."""
    snippet = apt.elements / "small-debian/environment.d/10-small-debian.bash"
    snippet.write_text(snippet.read_text().replace(apt.served.address, "http://mirror.invalid"))
    monkeypatch.setenv("http_proxy", apt.served.address)
    apt.build()
    assert [address for address in apt.served.through if "extra_" in address]
    assert all(address.startswith("http://mirror.invalid/") for address in apt.served.through)
