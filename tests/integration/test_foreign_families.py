"""Machines of a foreign architecture in every family that has a synthetic mirror of one: built here, started by UEFI.

They run by ``just test-all`` alone: an arm64 tree, an arm64 image, and an arm64 machine, all of them interpreted.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from qemu.architecture import native, runs
from tests.integration.command import Command
from tests.integration.synthetic import boot, mirrors_folder
from tests.mirrors.catalogue import SERVERS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough("builds and boots another architecture, interpreted: minutes"),
    pytest.mark.skipif(runs(native(), "arm64"), reason="arm64 is not foreign here"),
]

SYSTEMS = {"fedora": "44", "opensuse": "16.0", "ubuntu": "noble"}
BOOT_TIME = 1200  # seconds


@pytest.fixture(scope="module")
def folder(open_folder: Path) -> Iterator[Path]:
    yield from mirrors_folder(open_folder, "foreign-families")


@pytest.mark.parametrize("system", SYSTEMS)
def test_an_arm64_machine(folder: Path, system: str) -> None:
    release = SYSTEMS[system]
    command = Command("host", folder / "store", folder / f"{system}-out", ())
    with SERVERS[system](folder / f"{system}-{release}-arm64", release, "arm64") as variables:
        settings = {**variables, "DIB_RELEASE": release}
        options = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        outputs = ("-o", "tar", "-o", "raw", "--name", "machine")
        command.build("--arch", "arm64", *options, *outputs, f"{system}-minimal", "vm")
    unpack = ["tar", "-xOf", str(command.destination / "machine.tar"), "usr/bin/bash"]
    program = subprocess.run(unpack, capture_output=True, check=True).stdout
    assert program[18:20] == b"\xb7\x00"  # e_machine: AArch64
    said = boot(command.destination / "machine.raw", "--arch", "arm64", "--timeout", str(BOOT_TIME))
    assert "by uefi" in said
