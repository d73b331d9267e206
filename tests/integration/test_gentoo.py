"""Gentoo from a synthetic mirror with a real portage: a container, the same bytes, a machine, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stages.tree import package_database
from tests.integration.command import Command, Outcome
from tests.integration.synthetic import login, mirrors_folder
from tests.mirrors import ebuilds, gentoo
from tests.mirrors.debian import bootstrap
from tests.mirrors.keys import Key
from tests.mirrors.serve import serve

pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough("each distribution's family takes minutes; `just test` has Fedora's"),
]


@dataclass(frozen=True)
class Gentoo:
    """Builds from the synthetic mirror at ``address``, with a store of their own."""

    command: Command
    mirror: gentoo.Mirror
    address: str

    def build(self, *arguments: str, keys: Path | None = None, status: int = 0) -> Outcome:
        """Run ``dib-ctr build``; fails where it ends with another status."""
        settings = {
            "DIB_DISTRIBUTION_MIRROR": self.address,
            "DIB_GENTOO_KEYS": str(keys or self.mirror.keys),
            "GENTOO_PROFILE": gentoo.PROFILE,
        }
        options = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        outcome = self.command("build", *options, *arguments)
        assert outcome.status == status, f"{outcome.stdout}\n{outcome.stderr}"
        return outcome


@pytest.fixture(scope="module")
def folder(open_folder: Path) -> Iterator[Path]:
    yield from mirrors_folder(open_folder, "gentoo")


@pytest.fixture(scope="module")
def synthetic(folder: Path) -> Iterator[Gentoo]:
    mirror = gentoo.make(folder / "mirror", bootstrap(folder / "debian-tree", gentoo.PACKAGES))
    with serve(mirror.folder) as address:
        yield Gentoo(Command("host", folder / "store", folder / "out", ()), mirror, address)


def test_a_container(synthetic: Gentoo) -> None:
    """A signed binary package and one from source; nothing of the build's keys and settings is left."""
    packages = ("-p", ebuilds.EXTRA, "-p", ebuilds.FROM_SOURCE)
    synthetic.build("--output", "dir,slim=no", *packages, "--name", "plain", "gentoo")
    tree = synthetic.command.destination / "plain.dir"
    for name in ("extra-tool", "source-tool"):
        assert os.access(tree / "usr/bin" / name, os.X_OK)
    settings = tree / "etc/portage"
    assert not [*settings.glob("dib-ctr*"), *settings.glob("*/dib-ctr-build*"), *settings.glob("gnupg")]
    assert [file.name for file in (settings / "binrepos.conf").iterdir()] == ["gentoobinhost.conf"]
    assert synthetic.address not in (settings / "binrepos.conf/gentoobinhost.conf").read_text()
    left = ("var/db/repos/gentoo", "var/cache/distfiles", "var/cache/binpkgs", "var/tmp", "var/log")
    assert not [place for name in left for place in (tree / name).iterdir()]
    assert (tree / "var/lib/portage/world").read_text().split() == [ebuilds.EXTRA, ebuilds.FROM_SOURCE]
    found = {package.name: package.version for package in package_database.read(tree)}
    assert found[ebuilds.EXTRA] == found[ebuilds.FROM_SOURCE] == "1"
    assert {"sys-apps/baselayout", "sys-libs/glibc", "sys-apps/portage"} <= found.keys()


def test_the_same_bytes(synthetic: Gentoo) -> None:
    """Of a binary package and of one that is built here."""
    ask = ("--output", "tar,slim=no", "-p", ebuilds.EXTRA, "-p", ebuilds.FROM_SOURCE, "--name", "again", "gentoo")
    first = synthetic.build(*ask).digest("tar")
    assert synthetic.build("--no-cache", *ask).digest("tar") == first


def test_a_machine_boots(synthetic: Gentoo) -> None:
    synthetic.build("--output", "raw", "--name", "machine", "gentoo", "vm")
    login(synthetic.command.destination / "machine.raw", "gentoo")


@pytest.mark.parametrize("wrong", ["keys", "stage3"])
def test_what_is_signed_by_nobody_known_is_refused(synthetic: Gentoo, tmp_path: Path, wrong: str) -> None:
    """Whether the build knows other keys, or the stage 3 was changed after it was signed."""
    file, keys = synthetic.mirror.folder / gentoo.TARBALL, synthetic.mirror.keys
    before = file.read_bytes()
    try:
        if wrong == "keys":
            keys = tmp_path / "other.asc"
            keys.write_bytes(Key.make(tmp_path / "gnupg", "Somebody else").public())
            said = "not among those that are trusted"
        else:
            file.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
            said = "SHA-512"
        ask = ("--output", "dir", "--no-cache", "--name", "refused", "gentoo")
        failed = synthetic.build(*ask, keys=keys, status=1)
        assert "08-gentoo" in failed.stderr
        assert said in failed.stderr
    finally:
        file.write_bytes(before)
    assert not (synthetic.command.destination / "refused.dir").exists()


def test_a_binary_package_of_somebody_else_is_refused(synthetic: Gentoo, tmp_path: Path) -> None:
    """Its checksums are those of the index, which nobody signs: the signatures within it are of another key."""
    package = synthetic.mirror.package(ebuilds.EXTRA)
    before = package.read_bytes()
    try:
        synthetic.mirror.sign_package(package, Key.make(tmp_path / "gnupg", "Somebody else"))
        failed = synthetic.build("--output", "dir", "--name", "refused", "-p", ebuilds.EXTRA, "gentoo", status=1)
        assert "named-packages" in failed.stderr
        assert "GnuPG verification failed" in failed.stdout + failed.stderr
    finally:
        package.write_bytes(before)
    assert not (synthetic.command.destination / "refused.dir").exists()
