"""Ram disks that boot: the built-in elements', and that of diskimage-builder's element as its command makes it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder import engines
from qemu.architecture import native
from tests.compat import dib
from tests.integration.command import Command, write_element
from tests.integration.engine_cases import missing

KERNEL = "linux-image-cloud-amd64"
# What Debian's systems had of themselves when diskimage-builder's element was written.
NEEDED = f"{KERNEL},udev,kmod,systemd-sysv,cpio,net-tools,iputils-ping"
FRAGMENT = 'echo "FRAGMENT of $(uname -s) interface=$BOOT_INTERFACE address=$BOOT_IP_ADDRESS"\n'

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(native() != "amd64", reason="this kernel is for amd64"),
]


@pytest.fixture(scope="module")
def store(open_folder: Path) -> Path:
    return open_folder / "ramdisk-store"


@pytest.fixture
def command(place: Path, store: Path) -> Command:
    (place / "elements").mkdir()
    write_element(place / "elements", "speaks", {"init.d/50-speaks": FRAGMENT})
    return Command("host", store, place / "out", (place / "elements",))


def console(folder: Path, name: str, append: str, expect: str) -> str:
    """Start the machine; what it said, once it said what is expected."""
    files = ("--kernel", str(folder / f"{name}.kernel"), "--initrd", str(folder / f"{name}.initramfs"))
    booted = subprocess.run(
        [
            sys.executable,
            "-m",
            "builder.cli",
            "boot",
            *files,
            "--append",
            append,
            "--expect",
            expect,
            "--timeout",
            "240",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert booted.returncode == 0, booted.stdout + booted.stderr
    return booted.stdout


@pytest.mark.thorough("a machine with its packages, booted under emulation: minutes")
@pytest.mark.parametrize("element", ["ramdisk", "dracut-ramdisk"])
def test_it_runs_the_fragments_with_a_network(command: Command, element: str) -> None:
    arguments = ("-o", "files", "--name", "it", element, "debian-minimal", "speaks")
    variables = {"DIB_RAMDISK_KERNEL": KERNEL}
    command.build(*arguments, variables=variables)
    out = command.destination
    assert {file.name for file in out.iterdir()} == {"it.kernel", "it.initramfs"}
    first = (out / "it.initramfs").read_bytes()
    console(out, "it", "ip=dhcp", r"FRAGMENT of Linux interface=\w+ address=10\.0\.")

    for file in list(out.iterdir()):
        file.unlink()
    again = command.build(*arguments, variables=variables)
    assert not again.titles("start")
    assert (out / "it.initramfs").read_bytes() == first
    if element == "ramdisk":
        command.build(*arguments, "--no-cache", variables=variables)
        assert (out / "it.initramfs").read_bytes() == first


def test_nothing_left_beside_the_image_is_an_error(place: Path) -> None:
    outcome = Command("host", place / "store", place / "out")("build", "-o", "files", "tiny-os")
    assert outcome.status == 1
    assert "the output files is empty: no outside script wrote into its working directory" in outcome.stderr


@pytest.fixture
def podman_store() -> Iterator[str]:
    if shutil.which("podman") is None:
        missing("there is no podman")
    name = f"dib-ctr-test-{os.getpid()}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIB_CTR_STORE", name)
        engine = engines.select("podman")
        yield name
        engine.remove_store()


@pytest.mark.thorough("a machine with its packages, booted under emulation: minutes")
def test_the_element_of_diskimage_builder(place: Path, upstream_elements: Path, podman_store: str) -> None:
    (place / "elements").mkdir()
    write_element(place / "elements", "speaks", {"init.d/50-speaks": FRAGMENT})
    environment = {**os.environ, **dib.variables(), "ELEMENTS_PATH": f"{place / 'elements'}:{upstream_elements}"}
    words = ["ramdisk-image-create", "-o", "deploy", "-p", NEEDED, "debian-minimal", "deploy-baremetal", "speaks"]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "builder.cli", *words],
        cwd=place,
        env={**environment, "DIB_CTR_STORE": podman_store},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert {file.name for file in place.iterdir() if file.is_file()} == {"deploy.kernel", "deploy.initramfs"}
    console(place, "deploy", "", "FRAGMENT of Linux")
