"""RHEL from a synthetic mirror, registered with a stand-in for subscription-manager: a machine that boots by UEFI."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.synthetic import Synthetic, login, mirrors_folder, synthetic
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
