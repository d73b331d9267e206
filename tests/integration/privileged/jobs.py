"""Jobs as `python3 -m blockdev.privileged` takes them, and what other programs say of the images."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from blockdev.configuration.read import read
from blockdev.filesystems.region import Region, copy_out
from blockdev.layout.json import to_data
from blockdev.layout.model import Layout
from blockdev.layout.options import Options
from blockdev.layout.plan import plan

MIB = 1 << 20
LOOPS = os.geteuid() == 0 and Path("/dev/loop-control").exists()
KERNEL = {line.split("\t")[1] for line in Path("/proc/filesystems").read_text().splitlines()}
ESP_MOUNT = ", mount: {mount_point: /boot/efi, fstab: {}}" if "vfat" in KERNEL else ""
XFS = "{name: data, size: 320MiB, mkfs: {type: xfs, label: data, mount: {mount_point: /srv/data, fstab: {}}}}"
GPT = f"""
- local_loop: {{name: image0, size: 700MiB}}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - {{name: ESP, type: EF00, size: 40MiB, mkfs: {{type: vfat, label: efi{ESP_MOUNT}}}}}
      - {{name: boot, size: 40MiB, mkfs: {{type: ext2, label: boot, mount: {{mount_point: /boot, fstab: {{}}}}}}}}
      - {{name: swap, type: 8200, size: 16MiB, mkfs: {{type: swap, label: swap, mount: {{mount_point: swap}}}}}}
      {"- " + XFS if "xfs" in KERNEL else ""}
      - {{name: root, size: 100%, mkfs: {{mount: {{mount_point: /, fstab: {{}}}}}}}}
"""
MBR = """
- local_loop: {name: image0, size: 300MiB}
- partitioning:
    base: image0
    label: mbr
    partitions:
      - {name: root, size: 200MiB, flags: [boot, primary], mkfs: {mount: {mount_point: /, fstab: {}}}}
      - {name: var, size: 40MiB, mkfs: {type: ext3, label: var, mount: {mount_point: /var, fstab: {}}}}
      - {name: home, size: 30MiB, mkfs: {type: ext2, label: home, mount: {mount_point: /home, fstab: {}}}}
"""
SMALL = """
- local_loop: {name: image0, size: 64MiB}
- mkfs: {base: image0, name: mkfs_root, type: ext4, opts: "-q", mount: {mount_point: /, fstab: {}}}
"""


@dataclass
class Job:
    """The folder of a job, and what is asserted of it."""

    folder: Path
    layout: Layout
    elements: dict[str, str] = field(default_factory=dict)

    @property
    def image(self) -> Path:
        return self.folder / "images/image0.raw"

    @property
    def beside(self) -> Path:
        return self.folder / "beside"

    def script(self, phase: str, name: str, *lines: str, element: str = "box", shell: str = "#!/bin/sh") -> None:
        path = self.folder / "hooks" / phase / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join((shell, "set -e", *lines, "")))
        path.chmod(0o755)
        self.elements[f"{phase}/{name}"] = element
        (self.folder / "elements.json").write_text(json.dumps(self.elements))

    def start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.integration.disk_job", str(self.folder)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, expected: int = 0) -> subprocess.CompletedProcess[str]:
        with self.start() as process:
            out, err = process.communicate(timeout=120)
        assert process.returncode == expected, out + err
        return subprocess.CompletedProcess([], process.returncode, out, err)

    def part(self, name: str) -> Path:
        """A partition (or whole disk) of the image as a file of its own."""
        (piece,) = self.layout.storages[name].pieces
        target = self.folder / f"part-{name}"
        if not target.exists():
            copy_out(Region(self.image, piece.offset, piece.length), target)
        return target

    def cat(self, name: str, path: str) -> str:
        return output("debugfs", "-R", f"cat {path}", self.part(name))

    def left(self) -> list[Path]:
        """What an image that is given up must not leave."""
        return [*self.folder.glob("images/*"), *self.folder.glob("ledgers/*")]


def output(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def sound(job: Job) -> None:
    """No checker has anything to say of the image."""
    for system in job.layout.file_systems:
        file = job.part(system.storage)
        if system.kind.startswith("ext"):
            output("e2fsck", "-fn", file)
        elif system.kind == "vfat":
            output("fsck.vfat", "-n", file)
        elif system.kind == "xfs":
            output("xfs_repair", "-n", "-f", file)
        elif system.kind == "btrfs":
            output("btrfs", "check", "--readonly", file)
        found = output("blkid", "-p", "-o", "export", file)
        assert f"TYPE={system.kind}\n" in found
        assert f"LABEL={system.label}\n" in found
        assert f"UUID={system.uuid}\n" in found


def attached(folder: Path) -> list[str]:
    """The loop devices whose backing files are (or were) below a folder."""
    listed = output("losetup", "--list", "--noheadings", "--raw", "--output", "NAME,BACK-FILE")
    return [line.split(" ")[0] for line in listed.splitlines() if str(folder) in line]


def make_job(folder: Path, configuration: str, *, tar: bool = False) -> Job:
    """A job with a small tree: busybox, two owners, an extended attribute, a hard link, a hole."""
    folder.mkdir()
    layout = plan(read(configuration, "layout.yaml"), Options(seed="test", size=300 * MIB, journal=4), MIB)
    (folder / "layout.json").write_text(json.dumps(to_data(layout)))
    (folder / "environment.json").write_text(json.dumps({"GREETING": "good day", "DIB_IMAGE_SIZE": "5"}))
    (folder / "hooks").mkdir()
    tree = folder / "tree"
    for name in ("bin", "etc", "home/anna", "var/log", "srv/data", "boot/efi/EFI/BOOT", "proc", "sys", "dev", "tmp"):
        (tree / name).mkdir(parents=True)
    shutil.copy(Path("/bin/busybox").resolve(), tree / "bin/busybox")
    for name in ("sh", "cat", "ls", "grep", "sleep", "env", "id", "touch", "mkdir"):
        (tree / "bin" / name).symlink_to("busybox")
    (tree / "home/anna/file").write_text("anna's\n")
    (tree / "home/anna/twin").hardlink_to(tree / "home/anna/file")
    os.chown(tree / "home/anna/file", 1000, 1001)
    os.setxattr(tree / "bin/busybox", "trusted.note", b"kept")
    (tree / "var/log/old.log").write_text("noise\n")
    (tree / "boot/efi/EFI/BOOT/HELLO.TXT").write_text("boot\n")
    (tree / "srv/data/file").write_text("data\n")
    with (tree / "etc/hole").open("wb") as file:
        file.truncate(80 * MIB)
    if tar:
        output(
            "tar", "--create", "--sparse", "--xattrs", "--xattrs-include=*", "-C", tree, "-f", folder / "tree.tar", "."
        )
        shutil.rmtree(tree)
    return Job(folder, layout)
