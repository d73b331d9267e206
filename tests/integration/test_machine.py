"""Machines: Debian disks that no root has touched, started by BIOS and UEFI, with volumes, and as a cloud would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.integration.command import Command

pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough("machines with their packages, booted under emulation: minutes each"),
]

GIB = 1 << 30
VOLUMES = """
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - name: ESP
        type: EF00
        size: 64MiB
        mkfs: {type: vfat, label: ESP, mount: {mount_point: /boot/efi, fstab: {options: umask=0077}}}
      - {name: BSP, type: EF02, size: 1MiB}
      - {name: pv, type: 8E00, size: 100%}
- lvm:
    name: lvm
    pvs: [{name: pv0, base: pv}]
    vgs: [{name: vg, base: [pv0]}]
    lvs:
      - {name: lv_var, base: vg, size: 400MiB}
      - {name: lv_root, base: vg, extents: 100%FREE}
- mkfs: {name: mkfs_root, base: lv_root, mount: {mount_point: /, fstab: {fsck-passno: 1}}}
- mkfs: {name: var, base: lv_var, type: ext4, mount: {mount_point: /var, fstab: {}}}
"""
# What a machine says of itself, once cloud-init has come to its end.
USER_DATA = """\
#cloud-config
runcmd:
  - - sh
    - -c
    - >-
      echo RESULT size=$(df --output=size -BM / | tail -1) machine=$(cat /etc/machine-id)
      host=$(ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub | cut -d' ' -f2) number=%d END > /dev/ttyS0
"""


@pytest.fixture(scope="module")
def host(open_folder: Path) -> Iterator[Command]:
    folder = open_folder / "machine"
    folder.mkdir()
    command = Command("host", folder / "store", folder / "out", ())
    yield command
    if os.geteuid() != 0:
        subprocess.run(["unshare", "--user", "--map-root-user", "--map-auto", "rm", "-rf", command.store], check=False)


def booted(*arguments: str | Path) -> str:
    """Boot, fail with all that was said where it does not succeed, and return what the command printed."""
    done = subprocess.run(
        [sys.executable, "-m", "builder.cli", "boot", "--timeout", "900", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr}"
    return done.stdout


def test_the_default_disk_boots(host: Command) -> None:
    """``vm`` alone brings layout and boot loader; --boot-test starts what was built, in the format it was built in."""
    outcome = host.build("-o", "qcow2", "--boot-test", "--firmware", "bios", "debian-minimal", "vm")
    assert "booted by bios under" in outcome.stderr
    found = subprocess.check_output(
        [sys.executable, "-m", "builder.cli", "disk", "inspect", host.destination / "debian-minimal.qcow2"], text=True
    )
    assert "boots by BIOS: yes" in found
    assert "boots by UEFI: yes" in found
    assert "Debian GNU/Linux" in found


def test_a_boot_test_starts_a_disk_each_way_it_has(host: Command) -> None:
    outcome = host.build("-o", "qcow2", "--boot-test", "debian-minimal", "vm")
    assert "booted by bios under" in outcome.stderr
    assert "booted by uefi under" in outcome.stderr


def test_a_root_on_a_volume_boots(host: Command) -> None:
    outcome = host.build(
        *("-o", "raw", "--name", "volumes", "--boot-test", "--firmware", "uefi", "-p", "lvm2", "debian-minimal", "vm"),
        variables={"DIB_BLOCK_DEVICE_CONFIG": VOLUMES},
    )
    assert "booted by uefi under" in outcome.stderr


@pytest.fixture(scope="module")
def cloud(host: Command) -> Path:
    """A small disk for clouds, on a larger one."""
    host.build("-o", "raw", "--name", "cloud", "debian-minimal", "vm", "openssh-server", "cloud-init", "growroot")
    image = host.destination / "cloud.raw"
    assert image.stat().st_size < 2 * GIB
    os.truncate(image, 5 * GIB)
    return image


def told(image: Path, folder: Path, number: int) -> dict[str, str]:
    """Start a machine with a seed of its own, log in by SSH, and return what it says of itself."""
    seed = folder / f"seed-{number}"
    seed.mkdir()
    (seed / "user-data").write_text(USER_DATA % number)
    log = folder / f"console-{number}"
    expect = f"RESULT .*number={number} END"
    booted(image, "--firmware", "uefi", "--seed", seed, "--ssh", "--expect", expect, "--log", log)
    (line,) = re.findall(r"RESULT (.*) END", log.read_text(errors="replace"))
    found = dict(word.split("=", 1) for word in re.sub(r"= +", "=", line).split())
    assert int(found["size"].removesuffix("M")) > 4 * 1024
    assert re.fullmatch("[0-9a-f]{32}", found["machine"])
    assert found["host"].startswith("SHA256:")
    return found


def test_a_machine_worth_having(cloud: Path, tmp_path: Path) -> None:
    """A key lets one in, the root has grown, and the machine has an identity."""
    told(cloud, tmp_path, 1)


def test_machines_of_one_image_are_each_its_own(cloud: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda number: told(cloud, tmp_path, number), (1, 2))
    assert first["machine"] != second["machine"]
    assert first["host"] != second["host"]
