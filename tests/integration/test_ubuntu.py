"""Ubuntu from a synthetic archive: containers, the same bytes twice, a machine as a cloud's, and what is refused."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.command import Command, Outcome
from tests.integration.synthetic import boot, check_dpkg_tree, mirrors_folder
from tests.mirrors import ubuntu
from tests.mirrors.keys import Key
from tests.mirrors.serve import serve

pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough("each distribution's family takes minutes; `just test` has Fedora's"),
]

SOURCES = """\
Types: deb
URIs: {address}
Suites: noble noble-updates noble-security noble-backports
Components: main universe
Signed-By: /etc/apt/keyrings/ubuntu-archive-keyring.gpg
"""
MACHINE = ("ubuntu-minimal", "vm", "cloud-init", "openssh-server", "growroot", "devuser")


@dataclass(frozen=True)
class Ubuntu:
    """Builds of a release from the synthetic archive at ``address``."""

    command: Command
    mirror: ubuntu.Mirror
    address: str
    release: str

    def build(self, *arguments: str, keyring: Path | None = None, status: int = 0) -> Outcome:
        """Run ``dib-ctr build``; fails where it ends with another status."""
        settings = {
            "DIB_RELEASE": self.release,
            "DIB_DISTRIBUTION_MIRROR": self.address,
            "DIB_APT_KEYRING": str(keyring or self.mirror.keyring),
        }
        options = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        outcome = self.command("build", *options, *arguments)
        assert outcome.status == status, f"{outcome.stdout}\n{outcome.stderr}"
        return outcome


@pytest.fixture(scope="module")
def folder(open_folder: Path) -> Iterator[Path]:
    yield from mirrors_folder(open_folder, "ubuntu")


@pytest.fixture(scope="module")
def packages(folder: Path) -> tuple[Path, ...]:
    """Debian's packages that the archives are made of."""
    return ubuntu.download(folder / "packages")


def _served(folder: Path, packages: tuple[Path, ...], release: str) -> Iterator[Ubuntu]:
    mirror = ubuntu.make(folder / release, release, packages)
    command = Command("host", folder / f"{release}-store", folder / f"{release}-out", ())
    with serve(mirror.folder) as address:
        yield Ubuntu(command, mirror, address, release)


@pytest.fixture(scope="module")
def noble(folder: Path, packages: tuple[Path, ...]) -> Iterator[Ubuntu]:
    yield from _served(folder, packages, "noble")


@pytest.fixture(scope="module")
def jammy(folder: Path, packages: tuple[Path, ...]) -> Iterator[Ubuntu]:
    yield from _served(folder, packages, "jammy")


def test_a_container(noble: Ubuntu) -> None:
    """The tree's own apt installs the newest of all suites, and the sources are in Ubuntu's one file."""
    noble.build("--output", "dir,slim=no", "-p", ubuntu.EXTRA, "--name", "plain", "ubuntu-minimal")
    tree = noble.command.destination / "plain.dir"
    assert subprocess.check_output([tree / "usr/bin" / ubuntu.EXTRA], text=True) == "2\n"
    (sources,) = (tree / "etc/apt/sources.list.d").iterdir()
    assert sources.name == "ubuntu.sources"
    assert sources.read_text() == SOURCES.format(address=noble.address)
    assert not (tree / "etc/apt/sources.list").exists()
    assert (tree / ubuntu.KEYRING).read_bytes() == noble.mirror.keyring.read_bytes()
    assert "UBUNTU_CODENAME=noble" in (tree / "etc/os-release").read_text()
    names = check_dpkg_tree(tree, "ubuntu", "noble")
    assert {"apt", "base-files", "ubuntu-keyring", ubuntu.EXTRA} <= names
    assert not names & {"debian-archive-keyring", "systemd", "python3"}
    asked = subprocess.check_output(["chroot", str(tree), "apt-get", "update", "--print-uris"], text=True)
    assert f"{noble.address}/dists/noble-security/universe/binary-amd64/Packages" in asked


def test_an_older_release_has_a_line_for_each_source(jammy: Ubuntu) -> None:
    jammy.build("--output", "dir,slim=no", "--name", "jammy", "ubuntu-minimal")
    tree = jammy.command.destination / "jammy.dir"
    assert "VERSION_CODENAME=jammy" in (tree / "usr/lib/os-release").read_text()
    names = {file.name for file in (tree / "etc/apt/sources.list.d").iterdir()}
    assert names == {f"{name}.list" for name in ("default", "updates", "security", "backports")}


def test_a_machine_boots(noble: Ubuntu, tmp_path: Path) -> None:
    """A disk comes up by UEFI, through shim and the signed GRUB, and lets the key of a cloud's data in."""
    noble.build("--output", "raw", "--name", "machine", *MACHINE)
    console = boot(noble.command.destination / "machine.raw", "--firmware", "uefi", "--ssh-key", str(tmp_path / "key"))
    assert "Ubuntu 24.04" in console
    assert "logged in by SSH as ubuntu" in console


def test_the_same_bytes(noble: Ubuntu) -> None:
    ask = ("--output", "tar", "--name", "again", "ubuntu-minimal")
    first = noble.build(*ask).digest("tar")
    assert noble.build("--no-cache", *ask).digest("tar") == first


def test_the_same_bytes_of_a_machine(noble: Ubuntu) -> None:
    """With kernel and ram disk."""
    ask = ("--output", "tar", "--name", "machine-again", *MACHINE)
    first = noble.build(*ask).digest("tar")
    assert noble.build("--no-cache", *ask).digest("tar") == first


def test_another_key_is_refused(noble: Ubuntu, tmp_path: Path) -> None:
    keyring = tmp_path / "other.gpg"
    keyring.write_bytes(Key.make(tmp_path / "gnupg", "Somebody else").public(armor=False))
    ask = ("--output", "dir", "--name", "refused", "ubuntu-minimal")
    failed = noble.build(*ask, keyring=keyring, status=1)
    assert "08-debootstrap" in failed.stderr
    assert "is not signed" in failed.stderr
    assert not (noble.command.destination / "refused.dir").exists()
