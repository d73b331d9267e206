"""What is on disk images made with loop devices and mounts, as root, read back by other programs."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.integration.privileged.jobs import GPT, KERNEL, LOOPS, MBR, MIB, Job, make_job, output, sound

pytestmark = pytest.mark.skipif(not LOOPS, reason="loop devices need root")


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
