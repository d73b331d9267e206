"""The commands and devices of a disk that is made with loop devices, and what is refused first."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockdev.configuration.read import read
from blockdev.core.errors import BuildError, UsageError
from blockdev.layout.model import FileSystem, GroupPlan, Layout, LogicalPlan, LuksPlan
from blockdev.layout.options import Options
from blockdev.layout.plan import plan
from blockdev.privileged import device_mapper, filesystems, ledger, loops, run

MIB = 1 << 20
IMAGE = ledger.HeldImage("/x/.image0-1.part", 7, 8)
LVM = """
- local_loop: {name: image0, size: 2GiB}
- partitioning:
    base: image0
    label: gpt
    partitions: [{name: one, size: 100%}]
- lvm:
    name: lvm
    pvs: [{name: pv, base: one}]
    vgs: [{name: vg, base: [pv]}]
    lvs:
      - {name: lv-root, base: vg, size: 1GiB}
- mkfs: {base: lv-root, name: mkfs_root, type: ext4, mount: {mount_point: /, fstab: {}}}
"""
PLAIN = """
- local_loop: {name: second, size: 64MiB}
- mkfs: {base: second, name: other, type: vfat, label: more, mount: {mount_point: /boot, fstab: {}}}
- local_loop: {name: image0, size: 256MiB}
- mkfs: {base: image0, name: mkfs_root, type: TYPE, mount: {mount_point: /, fstab: {}}}
"""


def laid_out(text: str) -> Layout:
    return plan(read(text, "layout.yaml"), Options(seed="test"), MIB)


def job(layout: Layout, folder: Path, **more: Any) -> run.Job:
    return run.Job(layout, folder, folder, {}, folder, folder, folder, folder / "ledgers", 5, **more)


def system(kind: str, uuid: str = "11111111-2222-3333-4444-555555555555", label: str = "lab") -> FileSystem:
    return FileSystem("node", "part", kind, label, uuid, ("-x", "1"), "/")


@pytest.mark.parametrize(
    ("kind", "uuid", "expected"),
    [
        ("ext4", "u-1", "mkfs -t ext4 -x 1 -q -L lab -U u-1 DEV"),
        ("ext2", "u-1", "mkfs -t ext2 -x 1 -q -L lab -U u-1 DEV"),
        ("xfs", "u-1", "mkfs -t xfs -x 1 -q -L lab -m uuid=u-1 DEV"),
        ("btrfs", "u-1", "mkfs -t btrfs -x 1 -q -L lab -U u-1 DEV"),
        ("vfat", "ABCD-1234", "mkfs -t vfat -x 1 -n lab -i ABCD1234 DEV"),
        ("msdos", "ABCD-1234", "mkfs -t msdos -x 1 -n lab -i ABCD1234 DEV"),
        ("f2fs", "u-1", "mkfs -t f2fs -x 1 -l lab -U u-1 DEV"),
        ("swap", "u-1", "mkswap -L lab -U u-1 DEV"),
        ("jfs", "u-1", "mkfs -t jfs -x 1 -L lab DEV"),
        ("ext4", "", "mkfs -t ext4 -x 1 -q -L lab DEV"),
    ],
)
def test_the_command_that_makes_a_file_system(kind: str, uuid: str, expected: str) -> None:
    assert " ".join(filesystems.make_argv(system(kind, uuid), "DEV")) == expected


def test_the_command_that_makes_one_without_a_label() -> None:
    assert "-L" not in filesystems.make_argv(system("ext4", label=""), "DEV")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("ext4", "mount -t ext4 DEV /t"),
        ("xfs", "mount -t xfs -o nouuid DEV /t"),
        ("fat", "mount -t vfat -o quiet DEV /t"),
    ],
)
def test_the_command_that_mounts(kind: str, expected: str) -> None:
    assert " ".join(filesystems.mount_argv(system(kind), "DEV", Path("/t"))) == expected


def test_the_command_that_attaches() -> None:
    one = ledger.Loop(3, IMAGE, 1 << 20, 5 << 20)
    whole = "losetup --offset 1048576 --sizelimit 5242880 /dev/loop3 /x/.image0-1.part"
    assert " ".join(loops.losetup_argv("/dev/loop3", one, 512)) == whole
    long = "losetup --offset 1048576 --sizelimit 5242880 --sector-size 4096 /dev/loop3 /x/.image0-1.part"
    assert " ".join(loops.losetup_argv("/dev/loop3", one, 4096)) == long


@given(st.integers(0, 4095), st.integers(0, (1 << 20) - 1), st.integers(0, 2**64 - 1), st.booleans())
def test_a_status_of_the_kernel(major: int, minor: int, inode: int, autoclear: bool) -> None:
    device = (minor & 0xFF) | major << 8 | (minor & ~0xFF) << 12  # new_encode_dev() of the kernel
    flags = 4 * autoclear | 8
    numbers = (device, inode, 0, 512, 1024, 3, 0, 0, flags)
    data = struct.pack("=5Q4I64s64s32s2Q", *numbers, b"name", b"", b"", 0, 0)
    assert len(data) == 232
    assert loops.parse_status(data) == loops.Status(os.makedev(major, minor), inode, 512, 1024, autoclear)


def test_no_loop_device_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def ioctl(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    monkeypatch.setattr(loops, "_make_node", lambda *_: None)
    monkeypatch.setattr(os, "open", lambda *_: os.dup(0))
    with pytest.raises(BuildError, match="all loop devices are taken") as raised:
        loops.free_number()
    assert "losetup --list" in raised.value.hint


def test_a_container_that_may_make_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def mknod(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "mknod", mknod)
    with pytest.raises(BuildError, match="is missing and cannot be made") as raised:
        loops.node(77)
    assert "--privileged" in raised.value.hint


def test_a_file_in_the_place_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def mknod(*_: object) -> None:
        raise FileExistsError

    monkeypatch.setattr(os, "mknod", mknod)
    found = Path("/etc/passwd").stat()
    monkeypatch.setattr(Path, "stat", lambda _: found)
    with pytest.raises(BuildError, match="/dev/loop77 is not the device that it is called after"):
        loops.node(77)


def test_variables_of_the_disk(tmp_path: Path) -> None:
    layout = laid_out(PLAIN.replace("TYPE", "ext4"))
    found = run.variables(job(layout, tmp_path), {"second": "/dev/loop8", "image0": "/dev/loop9"}, Path("/w/mnt"))
    assert found["IMAGE_BLOCK_DEVICE"] == "/dev/loop9"
    assert found["IMAGE_BLOCK_DEVICES"] == " [second]=/dev/loop8  [image0]=/dev/loop9 "
    assert found["DIB_IMAGE_SIZE"] == str(256 * 1024)
    assert (found["DIB_ROOT_LABEL"], found["DIB_ROOT_FSTYPE"]) == ("cloudimg-rootfs", "ext4")
    assert found["DIB_BOOT_LABEL"] == "MORE"
    assert found["DIB_MOUNTPOINTS"] == "/boot|/"  # as in the configuration
    assert found["TMP_MOUNT_PATH"] == "/w/mnt"
    assert "TARGET_ROOT" not in found


def test_a_read_only_file_system_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="file system type erofs cannot be mounted and filled"):
        run.refuse(job(laid_out(PLAIN.replace("TYPE", "erofs, label: x")), tmp_path))


def test_a_volume_group_without_the_device_mapper(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    layout = laid_out(LVM)
    monkeypatch.setattr(device_mapper, "has_device_mapper", lambda: False)
    with pytest.raises(BuildError, match=r"a volume group \('vg'\) needs the device mapper"):
        run.refuse(job(layout, tmp_path))
    monkeypatch.setattr(device_mapper, "has_device_mapper", lambda: True)
    run.refuse(job(layout, tmp_path))


LV = LogicalPlan("data", 10 * MIB, "")


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        (LV, "--size 8388608b --zero y --wipesignatures y --name data vg"),
        (LogicalPlan("data", 1, ""), "--size 4194304b --zero y --wipesignatures y --name data vg"),
        (LogicalPlan("data", 8 * MIB, "50%VG"), "--size 8388608b --zero y --wipesignatures y --name data vg"),
        (LogicalPlan("data", None, "50%VG"), "--extents 50%VG --zero y --wipesignatures y --name data vg"),
        (LogicalPlan("p", 8 * MIB, "", "thin-pool"), "--type thin-pool --size 8388608b --name p vg"),
        (LogicalPlan("t", 8 * MIB, "", "thin", "p"), "--type thin --thinpool p --virtualsize 8388608b --name t vg"),
        (
            LogicalPlan("data", 8 * MIB, "", options=("-W", "n")),
            "--size 8388608b --zero y --wipesignatures y -W n --name data vg",
        ),
    ],
)
def test_the_command_that_makes_a_logical_volume(volume: LogicalPlan, expected: str) -> None:
    command = device_mapper.create_volume_argv("vg", volume, ["/dev/loop3"])
    assert command[:3] == ["lvcreate", "--yes", "--config"]
    assert " ".join(command[4:]) == expected


def test_lvm_looks_at_its_own_devices_only() -> None:
    group = GroupPlan("vg", (("pv", "one"),), (), ("--physicalextentsize", "8m"))
    devices = ("/dev/loop3", "/dev/mapper/a.b")
    for command in (
        device_mapper.create_group_argv(group, devices),
        device_mapper.create_volume_argv("vg", LV, devices),
        device_mapper.deactivate_argv("vg", devices),
    ):
        settings = command[command.index("--config") + 1]
        assert r'filter = [ "a|^/dev/loop3$|", "a|^/dev/mapper/a\.b$|", "r|.*|" ]' in settings
        assert "use_devicesfile = 0" in settings
    made = device_mapper.create_group_argv(group, devices)
    assert made[-5:] == ["--physicalextentsize", "8m", "vg", *devices]


def test_thin_volumes_come_after_their_pools() -> None:
    volumes = [LogicalPlan("t", 1, "", "thin", "p"), LV, LogicalPlan("p", 1, "", "thin-pool")]
    assert [one.name for one in device_mapper.in_order(volumes)] == ["data", "p", "t"]


def test_the_commands_of_an_encrypted_container() -> None:
    container = LuksPlan("secret", "part", "lab", "u-1", "", "KEY", "aes-xts-plain64", "pbkdf2")
    made = " ".join(device_mapper.encrypt_argv(container, "DEV"))
    assert made == (
        "cryptsetup luksFormat --batch-mode --type luks2 --cipher aes-xts-plain64 --pbkdf pbkdf2 --uuid u-1"
        " --label lab --key-file - DEV"
    )
    assert device_mapper.open_argv("DEV", "name")[-4:] == ["--key-file", "-", "DEV", "name"]
    assert device_mapper.close_argv("name") == ["cryptsetup", "close", "name"]
