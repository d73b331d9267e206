"""LVM's own tools, on loop devices or ranges of a disk of a test's own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blockdev.filesystems.region import Region
from tests.integration.engine_cases import missing

MIB = 1 << 20
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"
CONFIG = """
devices {{ obtain_device_list_from_udev = 0  external_device_info_source = "none"  hints = "none"
           use_devicesfile = 0  md_component_detection = 0  multipath_component_detection = 0 }}
global {{ locking_dir = "{lock}"  use_lvmpolld = 0  notify_dbus = 0  system_id_source = "none" }}
backup {{ backup = 0  archive = 0 }}
activation {{ udev_sync = 0  udev_rules = 0  monitoring = 0 }}
"""
EXPECTED = re.compile(
    " *(WARNING: (Activation disabled|Logical volume .* not zeroed|This metadata update is NOT backed up)"
    "|Reducing .* to remaining free space)"
)  # lines that tell of how the tests use LVM, and of nothing else


@dataclass
class Lvm:
    """Debian's LVM with a configuration of its own, that sees a test's loop devices and nothing else."""

    folder: Path
    devices: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)  # device: what the test calls it

    def run(self, command: str, *arguments: str, succeeds: bool = True) -> str:
        """What a command says; it must say nothing that is wrong with what is on the devices."""
        environment = {"PATH": PATH, "LC_ALL": "C.UTF-8", "TZ": "UTC", "LVM_SYSTEM_DIR": str(self.folder)}
        only = () if command == "pvck" else ("--devices", ",".join(self.devices))  # pvck is given its device
        line = [command, "--driverloaded", "n", *only, *arguments]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False, timeout=120)
        if succeeds:
            assert done.returncode == 0, (line, done.stdout, done.stderr)
            said = [said for said in done.stderr.splitlines() if not EXPECTED.match(said)]
            assert not said, (line, said)
        else:
            assert done.returncode != 0, (line, done.stdout)
        return done.stdout

    def report(self, command: str, columns: str, *more: str) -> list[dict[str, str]]:
        json_of = ("--reportformat", "json", "--units", "b", "--nosuffix", "-o", columns)
        answer: dict[str, Any] = json.loads(self.run(command, *json_of, *more))
        (report,) = answer["report"]
        (rows,) = report.values()
        return sorted(rows, key=lambda row: tuple(row.values()))


@contextlib.contextmanager
def attached(lvm: Lvm, regions: dict[str, Region]) -> Iterator[None]:
    """A loop device for each region, gone afterwards whatever happened."""
    try:
        for name, region in regions.items():
            place = ("--offset", str(region.offset), "--sizelimit", str(region.length))
            done = subprocess.run(
                ["losetup", "--find", "--show", *place, region.image], capture_output=True, text=True, check=False
            )
            if done.returncode:
                missing(f"there is no loop device to have: {done.stderr}")
            lvm.devices.append(done.stdout.strip())
            lvm.names[done.stdout.strip()] = name
        yield
    finally:
        for device in lvm.devices:
            subprocess.run(["losetup", "--detach", device], check=True)
        lvm.devices.clear()


def blank(path: Path, size: int) -> Path:
    with path.open("xb") as file:
        file.truncate(size)
    return path
