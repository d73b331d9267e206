"""Disk images made with loop devices and mounts, as root; read back by other programs, and nothing left behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from blockdev.configuration.read import read
from blockdev.filesystems.region import Region, copy_out
from blockdev.layout.json import to_data
from blockdev.layout.model import Layout
from blockdev.layout.options import Options
from blockdev.layout.plan import plan
from blockdev.privileged import ledger
from blockdev.privileged.release import release_left_over

MIB = 1 << 20
LOOPS = os.geteuid() == 0 and Path("/dev/loop-control").exists()
pytestmark = pytest.mark.skipif(not LOOPS, reason="loop devices need root")
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


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder on a disk; whatever a test does, no loop device and no mount of it is left."""
    folder = Path("/var/tmp") / f"dib-ctr-privileged-{os.getpid()}-{time.monotonic_ns()}"
    folder.mkdir()
    yield folder
    left = attached(folder)
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(folder) in line]
    for device in left:
        subprocess.run(["losetup", "--detach", device], check=False)
    shutil.rmtree(folder)
    assert (left, mounts) == ([], [])


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


def test_gpt_and_what_scripts_do_is_in_the_image(place: Path) -> None:
    job = make_job(place / "job", GPT)
    job.script(
        "pre-finalise.d",
        "10-devices",
        'declare -A devices="($IMAGE_BLOCK_DEVICES)"',
        'kind() { blkid -p -o value -s TYPE "${devices[$1]}"; }',
        'for name in "${!devices[@]}"; do echo "$name $(kind "$name")"; done > devices',
        'blkid -p -o value -s PTTYPE "$IMAGE_BLOCK_DEVICE" > table',
        'echo "${devices[image0]} $IMAGE_BLOCK_DEVICE" > same',
        'mountpoint "$TMP_MOUNT_PATH"; echo "${TARGET_ROOT-none}" > target',
        'echo "outside" > "$TMP_MOUNT_PATH/etc/outside"',
        shell="#!/bin/bash",
    )
    job.script(
        "finalise.d",
        "50-write",
        'echo "$GREETING $DIB_IMAGE_SIZE $DIB_ROOT_LABEL $DIB_BOOT_LABEL $(id -u)" > /etc/written',
        "echo kernel > /boot/vmlinuz; echo more > /srv/data/more",
        '[ -b "$IMAGE_BLOCK_DEVICE" ]; [ -d /proc/1 ]; [ -d /sys/block ]; [ -c /dev/pts/ptmx ]',
        "[ -x /tmp/in_target.d/finalise.d/50-write ]; ! touch /tmp/in_target.d/x; ! touch /sys/x",
        "touch /tmp/rest; mkdir -p /tmp/folder/deep; pwd > /etc/where",
    )
    job.script("cleanup.d", "90-last", 'cat "$TARGET_ROOT/etc/written"; ls > "$TARGET_ROOT/etc/listed"')
    done = job.run()
    assert "good day 716800 cloudimg-rootfs boot 0\n" in done.stdout
    sound(job)
    output("sfdisk", "--verify", job.image)
    kinds = dict(line.split(" ") for line in (job.beside / "devices").read_text().splitlines() if line[-1] != " ")
    assert kinds | {"image0": ""} == {
        "image0": "",
        **{system.storage: system.kind for system in job.layout.file_systems},
    }
    assert (job.beside / "table").read_text() == "gpt\n"
    first, second = (job.beside / "same").read_text().split()
    assert first == second
    assert (job.beside / "target").read_text() == "none\n"
    assert job.cat("root", "/etc/outside") == "outside\n"
    assert job.cat("root", "/etc/where") == "/\n"
    assert "same" in job.cat("root", "/etc/listed")
    assert job.cat("boot", "/vmlinuz") == "kernel\n"
    stat = output("debugfs", "-R", "stat /home/anna/file", job.part("root"))
    assert "User:  1000   Group:  1001" in stat
    assert "Links: 2" in stat
    assert "trusted.note (4) = " in output("debugfs", "-R", "ea_list /bin/busybox", job.part("root")).replace('"', "")
    assert job.cat("root", "/var/log/old.log") == ""
    inside = output("debugfs", "-R", "ls -p /tmp", job.part("root"))
    assert [line.split("/")[5] for line in inside.splitlines() if line] == [".", ".."]
    if "xfs" in KERNEL:
        listed = output("xfs_db", "-r", "-c", "ls /", job.part("data"))
        assert " more " in listed
        assert " file " in listed
    assert job.image.stat().st_blocks * 512 < 200 * MIB  # sparse; xfs alone has a journal of 64 MiB
    assert not job.left()[1:]
    assert json.loads((job.folder / "done.json").read_text())["images"] == {"image0": str(job.image)}


@pytest.mark.skipif("vfat" not in KERNEL, reason="this kernel cannot mount a FAT")
def test_files_of_a_fat(place: Path) -> None:
    job = make_job(place / "job", GPT)
    os.chown(job.folder / "tree/boot/efi/EFI/BOOT/HELLO.TXT", 7, 7)  # which a FAT cannot keep
    job.run()
    assert output("mtype", "-i", job.part("ESP"), "::EFI/BOOT/HELLO.TXT") == "boot\n"


def test_mbr_with_logical_partitions_from_a_tar_file(place: Path) -> None:
    job = make_job(place / "job", MBR, tar=True)
    job.script("finalise.d", "50-write", "echo v > /var/written; echo h > /home/written")
    job.run()
    sound(job)
    output("sfdisk", "--verify", job.image)
    found = json.loads(output("sfdisk", "--json", job.image))["partitiontable"]["partitions"]
    assert [(one["node"][len(str(job.image)) :], one["type"]) for one in found] == [
        ("1", "83"),
        ("2", "f"),
        ("5", "83"),
        ("6", "83"),
    ]
    assert job.cat("var", "/written") == "v\n"
    assert job.cat("home", "/written") == "h\n"
    assert job.cat("home", "/anna/file") == "anna's\n"
    assert "trusted.note (4)" in output("debugfs", "-R", "ea_list /bin/busybox", job.part("root"))
    assert job.image.stat().st_blocks * 512 < 60 * MIB  # the hole of 80 MiB is one still


def test_long_sectors(place: Path) -> None:
    configuration = GPT.replace("name: image0, size", "name: image0, block_size: 4096, size")
    job = make_job(place / "job", configuration)
    job.script("pre-finalise.d", "10-size", 'blockdev --getss "$IMAGE_BLOCK_DEVICE" > sector')
    job.run()
    assert (job.beside / "sector").read_text() == "4096\n"
    output("e2fsck", "-fn", job.part("root"))
    output("fsck.vfat", "-n", job.part("ESP"))


@pytest.mark.skipif("btrfs" not in KERNEL, reason="this kernel has no btrfs")
def test_btrfs_with_subvolumes(place: Path) -> None:
    job = make_job(
        place / "job",
        """
version: 2
block-device:
- local_loop: {name: image0, size: 300MiB}
- mkfs:
    base: image0
    name: mkfs_root
    type: btrfs
    label: tree
    subvolumes: [{path: home}, {path: etc, kind: ro}]
    mount: {mount_point: /, fstab: {}}
""",
    )
    job.script("finalise.d", "50-write", "echo w > /etc/written")
    job.run()
    sound(job)
    tree = output("btrfs", "inspect-internal", "dump-tree", "-t", "1", job.part("image0"))
    assert "name home" in tree
    assert "name etc" in tree
    assert tree.count("flags 0x1(RDONLY)") == 1


def test_verity_covers_what_scripts_wrote(place: Path) -> None:
    job = make_job(
        place / "job",
        """
version: 2
block-device:
- local_loop: {name: image0, size: 300MiB}
- partitioning:
    base: image0
    label: gpt
    partitions:
      - {name: root, size: 200MiB, mkfs: {type: ext4, label: r, mount: {mount_point: /, fstab: {}}}}
      - {name: hashes, size: 40MiB}
- verity: {name: checked, base: root, hash: hashes}
""",
    )
    job.script("finalise.d", "50-write", "echo w > /etc/written")
    job.run()
    root_hash = json.loads((job.folder / "done.json").read_text())["root_hashes"]["checked"]
    output("veritysetup", "verify", job.part("root"), job.part("hashes"), root_hash)
    assert job.cat("root", "/etc/written") == "w\n"


GRUB = Path("/usr/lib/grub/i386-pc")


def with_grub(job: Job) -> Job:
    """GRUB's files for BIOS in the tree, as the element ``bootloader`` leaves them."""
    folder = job.folder / "tree/boot/grub/i386-pc"
    folder.mkdir(parents=True)
    shutil.copy(GRUB / "boot.img", folder)
    output("grub-mkimage", "-O", "i386-pc", "-p", "/boot/grub", "-o", folder / "core.img", "biosdisk", "part_msdos")
    return job


@pytest.mark.skipif(not GRUB.is_dir(), reason="needs GRUB's files for BIOS")
def test_the_tree_s_boot_loader_gets_on_the_disk(place: Path) -> None:
    job = with_grub(make_job(place / "job", MBR))
    job.run()
    core = (job.folder / "tree/boot/grub/i386-pc/core.img").read_bytes()
    with job.image.open("rb") as file:
        start = file.read(512 + len(core))
    assert start[:440].count(b"GRUB") == 1
    assert start[512 + 512 : 512 + len(core)] == core[512:]  # its first sector has the list of the others
    output("sfdisk", "--verify", job.image)
    sound(job)


@pytest.mark.skipif(not GRUB.is_dir(), reason="needs GRUB's files for BIOS")
def test_a_script_s_own_boot_loader_stays(place: Path) -> None:
    job = with_grub(make_job(place / "job", MBR))
    job.script("pre-finalise.d", "50-own", 'printf "my own loader" | dd of="$IMAGE_BLOCK_DEVICE" conv=notrunc')
    job.run()
    with job.image.open("rb") as file:
        assert file.read(440).rstrip(b"\0") == b"my own loader"
        assert not any(file.read(4096)[512 - 440 :])
    output("sfdisk", "--verify", job.image)


def test_which_scripts_run_and_in_which_order(place: Path) -> None:
    job = make_job(place / "job", SMALL)
    for name in ("100-c", "20-b", "9-a", "kernel_config", "00-z", "50-no.sh", "60-not-executable"):
        job.script("finalise.d", name, f"echo {name} >> /etc/order")
    (job.folder / "hooks/finalise.d/60-not-executable").chmod(0o644)
    (job.folder / "hooks/finalise.d/70-folder").mkdir()
    (job.folder / "hooks/finalise.d/15-link").symlink_to("../extra/linked")
    job.script("extra", "linked", "echo linked >> /etc/order")
    job.script("pre-finalise.d", "10-plain", 'x=(1 2); echo "${#x[@]}" > bash', shell="")
    job.run()
    assert job.cat("image0", "/etc/order").split() == ["00-z", "kernel_config", "9-a", "linked", "20-b", "100-c"]
    assert (job.beside / "bash").read_text() == "2\n"


@pytest.mark.parametrize("phase", ["pre-finalise", "finalise", "cleanup"])
def test_a_failing_script_is_named(place: Path, phase: str) -> None:
    job = make_job(place / "job", SMALL)
    job.script(f"{phase}.d", "40-well", "echo fine")
    job.script(f"{phase}.d", "50-fails", "echo before; echo 'the reason' >&2; exit 42", element="culprit")
    job.script(f"{phase}.d", "60-later", "echo never")
    done = job.run(expected=1)
    assert f"the script 50-fails of the phase {phase} ended with status 42" in done.stderr
    assert "before\n    the reason" in done.stderr
    assert f"where: element culprit, {phase}.d/50-fails" in done.stderr
    assert "Traceback" not in done.stderr
    assert "never" not in done.stdout
    assert not job.left()


def test_a_tree_without_room(place: Path) -> None:
    job = make_job(place / "job", SMALL.replace("64MiB", "8MiB"))
    (job.folder / "tree/etc/large").write_bytes(os.urandom(12 * MIB))
    done = job.run(expected=1)
    assert "No space left" in done.stderr
    assert "--image-size" in done.stderr
    assert not job.left()


def waiting(job: Job, phase: str = "finalise.d") -> subprocess.Popen[str]:
    """The started job, when its script has begun to wait: with a process behind it that hears no signal."""
    job.script(phase, "50-waits", "(trap '' TERM INT; sleep 600) &", "echo waits", "sleep 600")
    process = job.start()
    assert process.stdout is not None
    for line in process.stdout:
        if line == "waits\n":
            return process
    assert process.stderr is not None
    raise AssertionError(process.stderr.read())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("phase", ["pre-finalise.d", "finalise.d"])
def test_given_up_by_a_signal(place: Path, number: signal.Signals, phase: str) -> None:
    job = make_job(place / "job", GPT)
    with waiting(job, phase) as process:
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert number.name in err
    assert "Traceback" not in err
    assert not attached(place)
    assert not job.left()


def foreign_loop(place: Path, name: str) -> str:
    image = place / name
    with image.open("wb") as file:
        file.truncate(4 * MIB)
    return output("losetup", "--find", "--show", image).strip()


def until_free(place: Path, but: Sequence[str], seconds: float = 10) -> list[str]:
    end = time.monotonic() + seconds
    while sorted(attached(place)) != sorted(but) and time.monotonic() < end:
        time.sleep(0.05)
    return attached(place)


def test_killed_the_kernel_gives_back_and_the_next_run_tidies_up(place: Path) -> None:
    job = make_job(place / "job", GPT)
    foreign = foreign_loop(place, "foreign.img")
    try:
        with waiting(job) as process:
            assert len(attached(place)) >= 5
            process.kill()
            process.communicate(timeout=60)
        assert until_free(place, [foreign]) == [foreign]  # its mounts ended with it, and with them the loop devices
        assert len(job.left()) == 2  # the unfinished image, and the ledger
        (job.folder / "hooks/finalise.d/50-waits").unlink()
        job.run()
        assert job.left() == [job.image]
        sound(job)
        assert attached(place) == [foreign]
    finally:
        output("losetup", "--detach", foreign)


# Runs where mounts outlive a process: assembles in a child, kills it, and releases what it left.
KILLED = """
import dataclasses, json, os, signal, subprocess, sys
from pathlib import Path
from blockdev.privileged import loops
from blockdev.privileged.__main__ import read_job
from blockdev.privileged.release import mounted_below, release_left_over
from blockdev.privileged.run import assemble
from stages.outputs.disk.scripts import run_on_disk

folder = Path(sys.argv[1])
if len(sys.argv) > 2:
    job = dataclasses.replace(read_job(folder, folder / "ledgers"), scripts=run_on_disk)
    assemble(job, lambda text: print(text, flush=True))
    sys.exit()
command = [sys.executable, "-c", os.environ["PROGRAM"], folder, "child"]
child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
for line in child.stdout:
    if line == "waits\\n":
        break
alive = release_left_over(folder / "ledgers")
child.kill()
zombie = len(mounted_below(folder))
child.wait()
for image in (folder / "images").glob(".*"):
    image.unlink()  # the devices have it still
def listed():
    text = subprocess.check_output(["losetup", "-nl", "--raw", "-O", "NAME,BACK-FILE"], text=True)
    return sorted(line.split(" ")[0] for line in text.splitlines() if str(folder.parent) in line)
before = listed()
found = release_left_over(folder / "ledgers")
print(json.dumps({
    "alive": [alive.released, alive.problems], "mounts": zombie, "before": before, "after": listed(),
    "released": found.released, "problems": found.problems, "left": mounted_below(folder),
    "ledgers": [str(path) for path in (folder / "ledgers").iterdir()],
}))
"""


def test_released_after_a_kill_where_mounts_stay(place: Path) -> None:
    job = make_job(place / "job", GPT)
    job.script("finalise.d", "50-waits", "echo waits", "sleep 600")
    foreign = foreign_loop(place, "foreign.img")
    try:
        said = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", KILLED, job.folder],
            env={**os.environ, "PROGRAM": KILLED},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert said.returncode == 0, said.stderr
        found = json.loads(said.stdout.splitlines()[-1])
        assert found["alive"] == [[], []]  # nothing is taken from a run that lives
        assert found["mounts"] >= 6
        mounted = [system for system in job.layout.file_systems if system.point.startswith("/")]
        assert len(found["before"]) == 1 + len(mounted)  # the others went by themselves
        assert found["after"] == [foreign]
        assert found["problems"] == []
        assert found["left"] == []
        assert found["ledgers"] == []
        assert any("mounts at" in text for text in found["released"])
    finally:
        output("losetup", "--detach", foreign)


def abandoned_ledger(folder: Path, entries: Sequence[ledger.Entry]) -> None:
    """A ledger as a killed process leaves it."""
    child = os.fork()
    if child == 0:
        book = ledger.open_ledger(folder)
        for entry in entries:
            book.add(entry)
        os._exit(0)
    os.waitpid(child, 0)


def test_a_device_that_is_another_file_s_now_is_not_touched(place: Path) -> None:
    """Every part of what tells a device for ours is put wrong in turn; only the true entry releases."""
    device = foreign_loop(place, "foreign.img")
    number = int(device.removeprefix("/dev/loop"))
    found = (place / "foreign.img").stat()
    true = ledger.Loop(number, ledger.HeldImage(str(place / "foreign.img"), found.st_dev, found.st_ino), 0, 0)
    wrong = [
        ledger.Loop(number, ledger.HeldImage(true.image.path, found.st_dev, found.st_ino + 1), 0, 0),
        ledger.Loop(number, ledger.HeldImage(true.image.path, found.st_dev + 1, found.st_ino), 0, 0),
        ledger.Loop(number, ledger.HeldImage(str(place / "other.img"), found.st_dev, found.st_ino), 0, 0),
        ledger.Loop(number, true.image, 512, 0),
        ledger.Loop(number, true.image, 0, 512),
        ledger.Loop(4321, true.image, 0, 0),
    ]
    for entry in wrong:
        abandoned_ledger(place / "ledgers", [entry])
    assert release_left_over(place / "ledgers").released == ()
    assert not Path("/dev/loop4321").exists()  # nor is one made by looking
    assert attached(place) == [device]
    assert list((place / "ledgers").iterdir()) == []
    abandoned_ledger(place / "ledgers", [true])
    assert len(release_left_over(place / "ledgers").released) == 1
    assert attached(place) == []


def test_two_at_once(place: Path) -> None:
    jobs = [make_job(place / name, GPT) for name in ("one", "two")]
    for job in jobs:
        job.script("finalise.d", "50-write", f"echo {job.folder.name} > /etc/who")
    running = [job.start() for job in jobs]
    for process in running:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, out + err
    for job in jobs:
        sound(job)
        assert job.cat("root", "/etc/who") == f"{job.folder.name}\n"


def test_a_container_s_own_dev_without_loop_devices(place: Path) -> None:
    """The device files that are missing are made: a container has a /dev of its own, made before they were."""
    job = make_job(place / "job", SMALL)
    job.script(
        "pre-finalise.d",
        "10-devices",
        "ls /dev > devices; echo $IMAGE_BLOCK_DEVICE > own; blkid -p -o value -s TYPE $IMAGE_BLOCK_DEVICE > type",
    )
    own = "; ".join(
        (
            "set -e",
            "mount -t tmpfs dev /dev",
            "mknod /dev/null c 1 3",
            "mknod /dev/urandom c 1 9",
            "mkdir /dev/pts",
            'exec "$@"',
        )
    )
    shell = ["unshare", "--mount", "--propagation", "private", "sh", "-c", own, "sh"]
    output(*shell, sys.executable, "-m", "tests.integration.disk_job", job.folder)
    made = (job.beside / "devices").read_text().split()
    used = Path((job.beside / "own").read_text().strip()).name
    assert {"loop-control", used} <= set(made)
    # (Of the others those that it tried, which somebody else on this machine had.)
    assert not [name for name in made if re.fullmatch("loop[0-9]+", name) and int(name[4:]) > int(used[4:])]
    assert (job.beside / "type").read_text() == "ext4\n"
    sound(job)


def test_what_cannot_be_made_is_refused_first(place: Path) -> None:
    job = make_job(place / "job", SMALL.replace("type: ext4", "type: squashfs, label: ''"))
    done = job.run(expected=2)
    assert "the file system type squashfs cannot be mounted and filled" in done.stderr
    shutil.rmtree(job.folder / "tree")
    assert "the job has no tree" in job.run(expected=2).stderr
