"""Images for two architectures at once, and a disk for the one that this machine does not have."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder import engines
from tests.integration.command import Command, script, write_element
from tests.integration.engine_cases import missing

pytestmark = [pytest.mark.slow, pytest.mark.thorough("builds and boots another architecture, interpreted: minutes")]

GREETING = "the disk of aarch64 is up"
# A machine that stops at its first process: what an emulated systemd would do after that is not asked here.
LIGHT = {
    "element-deps": "block-device-efi\nbootloader\npackage-installs\n",
    "package-installs.yaml": "linux-image-cloud-arm64:\n",
    "environment.d/60-light.bash": "export DIB_BOOTLOADER_DEFAULT_CMDLINE=init=/usr/local/sbin/greet\n",
    "install.d/90-light": script(
        "cat > /usr/local/sbin/greet << 'END'",
        "#!/bin/sh",
        'echo "the disk of $(uname -m) is up"',
        "exec sleep infinity",
        "END",
        "chmod 0755 /usr/local/sbin/greet",
    ),
}


@pytest.fixture(scope="module")
def podman(open_folder: Path) -> Iterator[Command]:
    if shutil.which("podman") is None:
        missing("there is no podman")
    folder = open_folder / "architectures"
    (folder / "elements").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIB_CTR_STORE", f"dib-ctr-test-{os.getpid()}")
        engine = engines.select("podman")
        yield Command("podman", folder / "store", folder / "out", (folder / "elements",))
        engine.remove_store()


def test_one_layout_holds_two_architectures(podman: Command) -> None:
    podman.build("--arch", "amd64,arm64", "-o", "oci", "-o", "tar", "debian-minimal")
    layout = podman.destination / "debian-minimal.oci"
    index = json.loads(subprocess.check_output(["skopeo", "inspect", "--raw", f"oci:{layout}"]))
    assert [entry["platform"]["architecture"] for entry in index["manifests"]] == ["amd64", "arm64"]
    for arch in ("amd64", "arm64"):
        assert (podman.destination / f"debian-minimal-{arch}.tar").is_file()
        assert (podman.destination / f"debian-minimal.oci.{arch}.cdx.json").is_file()
        shown = json.loads(subprocess.check_output(["skopeo", "--override-arch", arch, "inspect", f"oci:{layout}"]))
        assert shown["Architecture"] == arch
    for entry in index["manifests"]:
        assert (layout / "referrers/sha256" / f"{entry['digest'].removeprefix('sha256:')}.json").is_file()
    unpack = ["tar", "-xOf", str(podman.destination / "debian-minimal-arm64.tar"), "usr/bin/true"]
    program = subprocess.run(unpack, capture_output=True, check=True).stdout
    assert program[18:20] == b"\xb7\x00"  # e_machine: AArch64


def test_a_foreign_disk_boots(podman: Command) -> None:
    """On the layers of the test before: an arm64 disk, made on amd64, starts by UEFI, shim and GRUB."""
    write_element(podman.elements[0], "light", LIGHT)
    podman.build("--arch", "arm64", "-o", "qcow2", "debian-minimal", "light")
    image = podman.destination / "debian-minimal.qcow2"
    options = ["--arch", "arm64", "--timeout", "600", "--expect", GREETING]
    booted = subprocess.run(
        [sys.executable, "-m", "builder.cli", "boot", *options, image], capture_output=True, text=True, check=False
    )
    assert booted.returncode == 0, f"{booted.stdout[-3000:]}\n{booted.stderr}"
    assert "by uefi" in booted.stdout + booted.stderr
