"""openSUSE Leap from a synthetic mirror: a container, a machine that boots, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.command import kept_packages, write_planting_element
from tests.integration.synthetic import (
    EXTRA,
    Synthetic,
    boot,
    check_rpm_tree,
    install_one_more,
    mirrors_folder,
    synthetic,
)
from tests.mirrors import rpm
from tests.mirrors.debian import DebianTree
from tests.mirrors.keys import Key

pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough("each distribution's family takes minutes; `just test` has Fedora's"),
]


@pytest.fixture(scope="module")
def folder(open_folder: Path) -> Iterator[Path]:
    yield from mirrors_folder(open_folder, "opensuse")


@pytest.fixture(scope="module")
def leap(folder: Path, small_tree: DebianTree) -> Iterator[Synthetic]:
    yield from synthetic(folder, small_tree, "opensuse", "15.6")


@pytest.fixture(scope="module")
def with_kernel(folder: Path, rpm_tree: DebianTree) -> Iterator[Synthetic]:
    """The mirror with a kernel and boot loaders."""
    yield from synthetic(folder / "machine", rpm_tree, "opensuse", "15.6")


def test_a_container(leap: Synthetic) -> None:
    """The tree's own zypper installs too, and the image has the distribution's package sources."""
    leap.build("--output", "dir,slim=no", "-p", EXTRA, "--name", "plain", "opensuse-minimal")
    tree = leap.command.destination / "plain.dir"
    assert os.access(tree / f"usr/bin/{EXTRA}", os.X_OK)
    assert [file.name for file in (tree / "etc/zypp/repos.d").iterdir()] == ["opensuse-leap.repo"]
    assert not [*(tree / "etc").glob("pki/rpm-gpg/dib-*"), *(tree / "etc").glob("*/*dib-ctr*")]
    assert not [*(tree / "var/cache/zypp").iterdir(), *(tree / "var/log/zypp").glob("*")]
    assert {EXTRA, "zypper", "openSUSE-release", "glibc"} <= check_rpm_tree(tree, "opensuse-leap", "15.6").keys()
    install_one_more(tree, leap, "recommended-late")


def test_a_changed_package_in_the_cache_is_for_no_other_build(leap: Synthetic, tmp_path: Path) -> None:
    write_planting_element(tmp_path, "/var/cache/zypp")
    own = replace(leap, command=replace(leap.command, elements=(tmp_path,)))
    own.build("--output", "tar", "-p", EXTRA, "--name", "planted", "opensuse-minimal", "planting")
    kept = kept_packages(leap.command.store, "zypp")
    assert len(kept) > 1
    assert any(name.startswith(f"{EXTRA}-") for name in kept)
    assert all(kept.values())


def test_the_same_bytes(leap: Synthetic) -> None:
    """Whether packages come from the mirror or from the cache, in the bootstrap and in the tree."""
    ask = ("--output", "tar", "-p", EXTRA, "--name", "again", "opensuse-minimal")
    first = leap.build(*ask).digest("tar")
    assert leap.build("--no-cache", *ask).digest("tar") == first


def test_a_machine_boots(with_kernel: Synthetic) -> None:
    """A disk comes up by UEFI with shim, with NetworkManager enabled and the serial line's login."""
    with_kernel.build("--output", "raw", "--name", "machine", "opensuse-minimal", "vm")
    console = boot(with_kernel.command.destination / "machine.raw", "--firmware", "uefi")
    assert "Network Manager" in console


@pytest.mark.parametrize("signed", ["lists", "packages"])
def test_another_key_is_refused(leap: Synthetic, tmp_path: Path, signed: str) -> None:
    """Whether it is the lists that somebody else signed, or a package in lists that are right."""
    other = Key.make(tmp_path / "gnupg", "Somebody else")
    key = leap.mirror.key
    if signed == "lists":
        key = tmp_path / "other.key"
        key.write_bytes(other.public())
        failed = leap.build("--output", "dir", "--name", "refused", "opensuse-minimal", key=key, status=1)
        assert "Signature verification failed for repomd.xml" in failed.stderr
    else:
        package = leap.mirror.package(EXTRA)
        before = package.read_bytes()
        repository = leap.mirror.folder / leap.mirror.places[0]
        own = Key(leap.mirror.folder.with_name("opensuse.work") / "gnupg", "Synthetic Mirror")
        try:
            rpm.sign([package], other)
            rpm.index(repository, own)
            failed = leap.build("--output", "dir", "--name", "refused", "-p", EXTRA, "opensuse-minimal", status=1)
            assert "Signature verification failed" in failed.stderr
        finally:
            package.write_bytes(before)
            rpm.index(repository, own)
    assert not (leap.command.destination / "refused.dir").exists()
