"""RHEL from a synthetic mirror, registered with a stand-in for subscription-manager: a machine that boots by UEFI."""

from __future__ import annotations

import configparser
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.synthetic import EXTRA, Synthetic, in_tree, login, mirrors_folder, synthetic
from tests.mirrors.debian import DebianTree
from tests.mirrors.subscription import KEY, registration

pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough("each distribution's family takes minutes; `just test` has Fedora's"),
]


@pytest.fixture(scope="module")
def folder(open_folder: Path) -> Iterator[Path]:
    yield from mirrors_folder(open_folder, "rhel")


@pytest.fixture(scope="module")
def rhel(folder: Path, rpm_tree: DebianTree) -> Iterator[Synthetic]:
    yield from synthetic(folder, rpm_tree, "rhel", "9")


def _build(rhel: Synthetic, folder: Path, *arguments: str, status: int = 0) -> str:
    settings = registration(folder / "activation-key", rhel.address)
    options = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    return rhel.build(*options, *arguments, status=status).stderr


def test_the_universal_base_image_needs_no_subscription(rhel: Synthetic) -> None:
    """From UBI's layout alone, and the image has its package sources, by their names, and Red Hat's address."""
    rhel.build("--output", "dir,slim=no", "-p", EXTRA, "--name", "ubi", "rhel")
    tree = rhel.command.destination / "ubi.dir"
    packages = in_tree(tree, "rpm", "-qa", "--queryformat", "%{NAME}\n").split()
    assert {EXTRA, "redhat-release", "subscription-manager"} <= set(packages)
    assert [file.name for file in (tree / "etc/yum.repos.d").iterdir()] == ["ubi.repo"]
    settings = configparser.ConfigParser()
    settings.read(tree / "etc/yum.repos.d/ubi.repo")
    base = "https://cdn-ubi.redhat.com/content/public/ubi/dist/ubi9/9/$basearch"
    assert {name: dict(section) for name, section in settings.items() if section} == {
        f"ubi-9-{part.lower()}-rpms": {
            "name": f"Red Hat Universal Base Image 9 (RPMs) - {part}",
            "baseurl": f"{base}/{part.lower()}/os",
            "enabled": "1",
            "gpgkey": "file:///etc/pki/rpm-gpg/RPM-GPG-KEY-redhat-release",
            "gpgcheck": "1",
        }
        for part in ("BaseOS", "AppStream")
    }


def test_what_needs_a_registration_is_refused_without_one(rhel: Synthetic) -> None:
    """The kernel is among the packages of subscribers."""
    failed = rhel.build("--output", "dir", "--name", "refused", "rhel", "vm", status=1)
    assert "kernel-core" in failed.stderr


def test_a_registered_machine_boots_and_nothing_of_the_registration_stays(rhel: Synthetic, folder: Path) -> None:
    """Shim and the distribution's GRUB from the ESP; no layer has identity, entitlement, package sources or key."""
    _build(rhel, folder, "--output", "raw", "--name", "machine", "rhel", "vm")
    layers = rhel.command.store / "layers"
    assert any(layers.rglob("usr/sbin/subscription-manager"))
    assert not [*layers.rglob("redhat.repo"), *layers.rglob("pki/consumer/*"), *layers.rglob("pki/entitlement/*")]
    found = subprocess.run(
        ["grep", "-rlF", "--exclude=subscription-manager", KEY, layers], capture_output=True, text=True, check=False
    )
    assert found.stdout == ""
    login(rhel.command.destination / "machine.raw", "rhel", "uefi")
