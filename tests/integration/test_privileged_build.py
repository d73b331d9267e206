"""A build whose last phases want a real device: a privileged container, asked for, that leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.command import Command, script, write_element

LAYOUT = """
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: mbr
    partitions:
      - {name: root, flags: [boot, primary], size: 100%, mkfs: {mount: {mount_point: /, fstab: {}}}}
"""
DEVICES = {
    "finalise.d/50-look": script(
        'echo "$IMAGE_BLOCK_DEVICE $IMAGE_BLOCK_DEVICES" > /etc/looked',
        'grep -q " / ext4 " /proc/mounts',
        "echo inside > /etc/inside",
    ),
    "cleanup.d/60-outside": script(
        '[ -f "$TARGET_ROOT/etc/inside" ]',
        'echo outside | sudo tee "$TARGET_ROOT/etc/outside"',
        'source "$_LIB/common-functions"',
        'eval declare -A folders="($(get_image_element_array))"',
        '[[ -d ${folders[needs-device]} && $IMAGE_ELEMENT_YAML == *needs-device* ]] || die "no elements"',
        'mkdir "$DIB_IMAGE_CACHE/mine"; touch "$DIB_LOCKFILES/mine"',
    ),
}


def possible() -> bool:
    return os.geteuid() == 0 and shutil.which("podman") is not None and Path("/dev/loop-control").exists()


@pytest.fixture
def podman(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    """podman with a store of its own and one element that needs a device."""
    if not possible():
        pytest.skip("needs root, podman and loop devices")
    volume = f"dib-ctr-test-privileged-{os.getpid()}"
    monkeypatch.setenv("DIB_CTR_STORE", volume)
    monkeypatch.setenv("DIB_BLOCK_DEVICE_CONFIG", LAYOUT)
    write_element(place / "elements", "needs-device", DEVICES)
    elements = (place / "elements", Path(__file__).parents[1] / "elements")
    before = loops()
    yield Command("podman", place / "store", place / "out", elements)
    assert loops() - before == set()
    subprocess.run(["podman", "--runtime", "runc", "volume", "rm", "--force", volume], capture_output=True, check=False)


def loops() -> set[str]:
    """The loop devices whose files are ours."""
    said = subprocess.run(["losetup", "--list", "--noheadings", "-O", "NAME,BACK-FILE"], capture_output=True, text=True)
    return {line for line in said.stdout.splitlines() if "/store/" in line}


def read(image: Path, path: str) -> str:
    return subprocess.run(
        ["debugfs", "-R", f"cat {path}", f"{image}?offset={1 << 20}"], capture_output=True, text=True, check=True
    ).stdout


def test_refused_with_element_and_reason(podman: Command) -> None:
    outcome = podman("build", "-o", "raw", "tiny-os", "needs-device")
    assert outcome.status == 2
    assert "element needs-device: finalise.d/50-look uses IMAGE_BLOCK_DEVICE, IMAGE_BLOCK_DEVICES" in outcome.stderr
    assert "--privileged" in outcome.stderr
    assert outcome.events == []  # nothing has run
    outcome = podman("build", "--privileged", "-o", "raw", "-o", "tar", "tiny-os", "needs-device")
    assert outcome.status == 2
    assert "the output tar cannot come from the same build" in outcome.stderr


def test_an_engine_without_privileges_says_so(podman: Command, place: Path) -> None:
    host = Command("host", place / "store", place / "out", podman.elements)
    outcome = host("build", "--privileged", "-o", "raw", "tiny-os", "needs-device")
    assert outcome.status == 1
    assert "the engine host has no privileged containers" in outcome.stderr


def test_scripts_run_on_the_disk(podman: Command) -> None:
    outcome = podman.build("--privileged", "-o", "raw", "-o", "qcow2", "--name", "disk", "tiny-os", "needs-device")
    assert "privileged block-device stage: element needs-device" in outcome.stderr
    image = podman.destination / "disk.raw"
    device, _, devices = read(image, "/etc/looked").partition(" ")
    assert device.startswith("/dev/loop")
    assert f"[image0]={device}" in devices
    assert "[root]=/dev/loop" in devices
    assert read(image, "/etc/inside") == "inside\n"
    assert read(image, "/etc/outside") == "outside\n"
    assert read(image, "/etc/fstab") == "LABEL=cloudimg-rootfs / ext4 defaults 0 2\n"
    assert subprocess.run(["sfdisk", "--verify", image], capture_output=True, check=False).returncode == 0
    # What root has left in the store is the build's own again: the next build without privileges can work with it.
    podman.build("-o", "raw", "--name", "plain", "tiny-os")
    podman("cache", "prune", "--all")


def test_a_failing_script_is_named_and_nothing_stays(podman: Command, place: Path) -> None:
    write_element(
        place / "elements", "needs-device", {"finalise.d/50-look": script('echo "$IMAGE_BLOCK_DEVICE"; false')}
    )
    outcome = podman("build", "--privileged", "-o", "raw", "--name", "broken", "tiny-os", "needs-device")
    assert outcome.status == 1
    assert "element needs-device, finalise.d/50-look" in outcome.stderr
    assert not (podman.destination / "broken.raw").exists()
    podman.build("-o", "raw", "--name", "plain", "tiny-os")
