"""Arch Linux from a synthetic mirror: a container, the same bytes twice, a machine that boots, and what is refused."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from stages.tree import package_database
from tests.integration.command import Command, Outcome, kept_packages, write_planting_element
from tests.integration.synthetic import check_pacman_tree, login, mirrors_folder
from tests.mirrors import pacman
from tests.mirrors.debian import DebianTree, bootstrap
from tests.mirrors.keys import Key
from tests.mirrors.serve import serve

pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough("each distribution's family takes minutes; `just test` has Fedora's"),
]

# Of what packages brought: the linker's cache, which Debian's slices have and each installation writes anew, and the
# list of mirrors, which the element gives the image's own.
MAY_CHANGE = re.compile(r" /etc/(ld\.so\.cache|pacman\.d/mirrorlist) ")


@dataclass(frozen=True)
class Arch:
    """Builds from the synthetic mirror at ``address``, with a store of their own."""

    command: Command
    mirror: pacman.Mirror
    address: str

    def build(self, *arguments: str, keyring: Path | None = None, status: int = 0) -> Outcome:
        """Run ``dib-ctr build``; fails where it ends with another status."""
        settings = {
            "DIB_DISTRIBUTION_MIRROR": self.address,
            "DIB_ARCH_KEYRING": str(keyring or self.mirror.keyring),
            "DIB_ARCH_REVOKED": "",
        }
        options = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        outcome = self.command("build", *options, *arguments)
        assert outcome.status == status, f"{outcome.stdout}\n{outcome.stderr}"
        return outcome


@pytest.fixture(scope="module")
def folder(open_folder: Path) -> Iterator[Path]:
    yield from mirrors_folder(open_folder, "arch")


def _served(folder: Path, tree: DebianTree) -> Iterator[Arch]:
    mirror = pacman.make(folder / "mirror", tree)
    with serve(mirror.folder) as address:
        yield Arch(Command("host", folder / "store", folder / "out", ()), mirror, address)


@pytest.fixture(scope="module")
def arch(folder: Path, small_tree: DebianTree) -> Iterator[Arch]:
    yield from _served(folder, small_tree)


@pytest.fixture(scope="module")
def with_kernel(folder: Path) -> Iterator[Arch]:
    """The mirror with a kernel and a boot loader."""
    yield from _served(folder / "machine", bootstrap(folder / "debian-tree", pacman.PACKAGES))


def test_a_container(arch: Arch) -> None:
    """The tree's own pacman installs too; nothing of the build's keys and settings is left, but the image's mirror."""
    arch.build("--output", "dir,slim=no", "-p", pacman.EXTRA, "--name", "plain", "arch-minimal")
    tree = arch.command.destination / "plain.dir"
    assert os.access(tree / f"usr/bin/{pacman.EXTRA}", os.X_OK)
    assert [(tree / name).is_file() for name in (pacman.LETTERS, pacman.MORE_LETTERS)] == [True, True]
    assert (tree / pacman.HOOKED).is_file(), "a package's own hook has not run"
    assert sorted(file.name for file in (tree / "etc/pacman.d").iterdir()) == ["mirrorlist"]
    assert f"Server = {arch.address}/$repo/os/$arch" in (tree / "etc/pacman.d/mirrorlist").read_text()
    assert not [*(tree / "var/lib/pacman/sync").iterdir(), *(tree / "var/cache/pacman/pkg").iterdir()]
    check_pacman_tree(tree, MAY_CHANGE)
    found = {package.name: package.version for package in package_database.read(tree)}
    assert found[pacman.EXTRA] == "1-1"
    assert {"base", "glibc", "pacman"} <= found.keys()
    described = (tree / f"var/lib/pacman/local/{pacman.EXTRA}-1-1/desc").read_text()
    assert f"%INSTALLDATE%\n{pacman.EPOCH}\n" in described


def test_a_changed_package_in_the_cache_is_for_no_other_build(arch: Arch, tmp_path: Path) -> None:
    write_planting_element(tmp_path, "/var/cache/pacman/pkg")
    own = replace(arch, command=replace(arch.command, elements=(tmp_path,)))
    own.build("--output", "tar", "-p", pacman.EXTRA, "--name", "planted", "arch-minimal", "planting")
    kept = kept_packages(arch.command.store, "pacman")
    assert len(kept) > 1
    assert any(name.startswith(f"{pacman.EXTRA}-") for name in kept)
    assert all(kept.values())


def test_the_same_bytes(with_kernel: Arch) -> None:
    """A machine's tree, with kernel and ram disk."""
    ask = ("--output", "tar", "--name", "again", "arch-minimal", "vm")
    first = with_kernel.build(*ask).digest("tar")
    assert with_kernel.build("--no-cache", *ask).digest("tar") == first


def test_a_machine_boots(with_kernel: Arch) -> None:
    with_kernel.build("--output", "raw", "--name", "machine", "arch-minimal", "vm")
    login(with_kernel.command.destination / "machine.raw", "arch")


@pytest.mark.parametrize("wrong", ["keyring", "package"])
def test_what_is_signed_by_nobody_known_is_refused(arch: Arch, tmp_path: Path, wrong: str) -> None:
    """Whether the build knows other keys, or a package was changed after it was signed."""
    other = Key.make(tmp_path / "gnupg", "Somebody else")
    package = arch.mirror.package(pacman.EXTRA)
    before = package.read_bytes()
    try:
        if wrong == "keyring":
            keyring = tmp_path / "other.gpg"
            keyring.write_bytes(other.public(armor=False))
            failed = arch.build("--output", "dir", "--name", "refused", "arch-minimal", keyring=keyring, status=1)
            assert "08-arch-minimal" in failed.stderr
        else:
            other.sign(package, package.with_name(f"{package.name}.sig"), armor=False)
            pacman.index(package.parent)
            ask = ("--output", "dir", "--name", "refused", "--no-cache", "-p", pacman.EXTRA, "arch-minimal")
            failed = arch.build(*ask, status=1)
            assert "named-packages" in failed.stderr
        assert "required key missing from keyring" in failed.stderr
        asked = [line for line in failed.stderr.splitlines() if "gpg: " in line and "dirmngr" in line]
        assert not asked  # no key is asked for elsewhere
    finally:
        package.write_bytes(before)
    assert not (arch.command.destination / "refused.dir").exists()
