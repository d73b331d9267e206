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


# What a hostile script tries, one word for each thing that worked. It knows the machine's disks by their numbers.
HOSTILE = r"""
worked() { if "${@:2}" > /dev/null 2>&1; then echo "worked: $1"; fi; }
echo "at-all: $1"
mkdir -p /tmp/hostile
while read -r major minor _ name; do
    [[ $name =~ ^(loop|ram|zram|name$) || -z $name ]] && continue
    worked "mknod-$name" mknod "/tmp/hostile/$name" b "$major" "$minor"
    for device in "/tmp/hostile/$name" "/dev/$name"; do
        worked "read-$device" head -c 512 "$device"
        worked "mount-$device" mount "$device" /tmp/hostile
    done
done < /proc/partitions
for number in 0 1 2 3 4 5 6 7; do
    case " $IMAGE_BLOCK_DEVICES " in *"loop$number"[!0-9]*) continue ;; esac
    worked "other-loop$number" head -c 1 "/dev/loop$number"
    worked "mknod-loop$number" mknod "/tmp/hostile/loop$number" b 7 "$number"
done
worked losetup losetup --show -f "$0"
worked mount-proc mount -t proc proc /tmp/hostile
worked mount-tmpfs mount -t tmpfs tmpfs /tmp/hostile
worked remount-sys mount -o remount,rw /sys
worked bind mount --bind / /tmp/hostile
worked unmount-store umount -l /store
worked unshare unshare --mount true
worked sysrq bash -c "echo h > /proc/sysrq-trigger"
worked sysctl bash -c "echo hostile > /proc/sys/kernel/domainname"
worked core-pattern bash -c ': >> /proc/sys/kernel/core_pattern'
for file in /sys/kernel/mm/*/enabled /sys/block/*/queue/scheduler; do
    worked "write-$file" bash -c ': >> "$1"' bash "$file"
done
worked kcore bash -c "head -c 1 /proc/kcore | grep -q ."
worked module modprobe loop
worked reboot reboot -f --help-is-no-word
worked clock date -s 2001-01-01
worked kmsg bash -c "dmesg | grep -q ."
worked network bash -c "exec 3<> /dev/tcp/127.0.0.1/22"
worked interfaces bash -c "grep -v -e lo: -e '|' /proc/net/dev | grep -q ."
worked store-layers ls /store/layers
worked store-keys ls /store/keys
worked chroot-escape chroot /proc/1/root test -e /store/keys
worked ptrace-agent bash -c "ls /proc/1/root/store/keys"
"""


@pytest.mark.thorough("the attacks on a build with privileges: half a minute")
def test_a_hostile_script_reaches_its_own_loop_devices_and_nothing_else(podman: Command, place: Path) -> None:
    """What a script can reach through --privileged: docs/privileged.md."""
    hostile = script('echo "$IMAGE_BLOCK_DEVICE" > /dev/null', "set +eu", HOSTILE)
    own = script('echo "own: $(tail -c +511 "$IMAGE_BLOCK_DEVICE" | head -c 2 | od -An -tx1)"')
    write_element(
        place / "elements",
        "needs-device",
        {
            "pre-finalise.d/50-hostile": hostile,
            "finalise.d/50-look": hostile,
            "cleanup.d/50-own": own,
            "cleanup.d/60-outside": hostile,
        },
    )
    outcome = podman.build("--privileged", "-o", "raw", "--name", "hostile", "tiny-os", "needs-device")
    said = [event["text"] for event in outcome.events if event["type"] == "note"]
    assert [line for line in said if line.startswith("at-all")] == ["at-all: "] * 3
    assert [line for line in said if line.startswith("worked")] == []
    assert "own:  55 aa" in said
    assert "with a network" not in outcome.stderr


def test_a_script_that_names_a_downloader_has_a_network_and_it_is_said(podman: Command, place: Path) -> None:
    look = script('echo "$IMAGE_BLOCK_DEVICE"; type -P curl || true', 'echo "up: $(cat /proc/net/dev | wc -l)"')
    write_element(place / "elements", "needs-device", {"finalise.d/50-look": look, "cleanup.d/60-outside": script(":")})
    wanted = ("--privileged", "-o", "raw", "--name", "net", "tiny-os", "needs-device")
    for outcome in (podman("plan", *wanted), podman.build(*wanted)):  # a plan says it, too
        assert outcome.status == 0
        assert "block-device stage: element needs-device: finalise.d/50-look uses IMAGE_BLOCK_DEVICE" in outcome.stderr
        assert "with a network: element needs-device: finalise.d/50-look names a downloader" in outcome.stderr


def test_no_privileges_for_a_mistyped_file_system(podman: Command) -> None:
    for more in ((), ("--privileged",)):
        outcome = podman("build", *more, "-o", "raw", "--root-fs", "etx4", "tiny-os")
        assert outcome.status == 2
        assert "there is no file system type 'etx4'" in outcome.stderr
        assert "did you mean 'ext4'?" in outcome.stderr
        assert "privileged" not in outcome.stderr
        assert outcome.events == []


def test_a_failing_script_is_named_and_nothing_stays(podman: Command, place: Path) -> None:
    write_element(
        place / "elements", "needs-device", {"finalise.d/50-look": script('echo "$IMAGE_BLOCK_DEVICE"; false')}
    )
    outcome = podman("build", "--privileged", "-o", "raw", "--name", "broken", "tiny-os", "needs-device")
    assert outcome.status == 1
    assert "element needs-device, finalise.d/50-look" in outcome.stderr
    assert not (podman.destination / "broken.raw").exists()
    podman.build("-o", "raw", "--name", "plain", "tiny-os")
