"""When an image needs the privileged assembly, and what is said of it."""

from __future__ import annotations

import pytest

from blockdev.configuration.read import read
from blockdev.layout.model import Layout
from blockdev.layout.options import Options
from blockdev.layout.plan import plan
from blockdev.privileged.reasons import reasons

MIB = 1 << 20
PLAIN = """
- local_loop: {name: image0, size: 512MiB}
- mkfs: {base: image0, name: mkfs_root, type: TYPE, mount: {mount_point: /, fstab: {}}}
"""
LVM = """
- local_loop: {name: image0, size: 2GiB}
- partitioning:
    base: image0
    label: gpt
    partitions: [{name: one, size: 100%}]
- lvm:
    name: lvm
    pvs: [{name: pv, base: one PV}]
    vgs: [{name: vg, base: [pv] VG}]
    lvs:
      - {name: root, base: vg, size: 1GiB LV}
      MORE
- mkfs: {base: root, name: mkfs_root, type: ext4, mount: {mount_point: /, fstab: {}}}
"""


def laid_out(text: str) -> Layout:
    return plan(read(text, "layout.yaml"), Options(seed="test"), MIB)


def lvm(**words: str) -> Layout:
    text = LVM
    for word in ("PV", "VG", "LV", "MORE"):
        text = text.replace(f" {word}", words.get(word, ""))
    return laid_out(text)


@pytest.mark.parametrize("kind", ["ext2", "ext3", "ext4", "xfs", "btrfs", "vfat"])
def test_what_has_a_writer_is_no_reason(kind: str) -> None:
    assert reasons(laid_out(PLAIN.replace("TYPE", kind + ", label: x")), {}) == ()


def test_a_file_system_without_a_writer() -> None:
    expected = "file system type f2fs (mkfs node 'mkfs_root') has no rootless writer"
    assert reasons(laid_out(PLAIN.replace("TYPE", "f2fs")), {}) == (expected,)


def test_linear_volumes_are_no_reason() -> None:
    assert reasons(lvm(), {}) == ()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            {"MORE": " - {name: p, base: vg, size: 200MiB, type: thin-pool}"},
            "the logical volume 'p' is a pool for thin volumes",
        ),
        ({"LV": ", options: [--addtag, x]"}, "the logical volume 'root' has options for lvcreate: --addtag x"),
        ({"VG": ", options: [-s, 8m]"}, "the volume group 'vg' has options for vgcreate: -s 8m"),
        ({"PV": ", options: [-Z, y]"}, "the volume group 'vg' has options for vgcreate: -Z y"),
    ],
)
def test_what_lvm_s_own_programs_are_needed_for(words: dict[str, str], expected: str) -> None:
    assert reasons(lvm(**words), {}) == (expected,)


def test_thin_volumes() -> None:
    more = """ - {name: p, base: vg, size: 200MiB, type: thin-pool}
      - {name: t, base: vg, size: 4GiB, type: thin, thin-pool: p}"""
    found = reasons(lvm(MORE=more), {})
    assert found == (
        "the logical volume 'p' is a pool for thin volumes",
        "the logical volume 't' is a thin volume",
    )


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("losetup -a", "losetup"),
        ('grub-install --force "$IMAGE_BLOCK_DEVICE"', "IMAGE_BLOCK_DEVICE, grub-install"),
        ("eval declare -A d=($IMAGE_BLOCK_DEVICES)", "IMAGE_BLOCK_DEVICES"),
        ("${IMAGE_BLOCK_DEVICE}", "IMAGE_BLOCK_DEVICE"),
        ("GRUB=/usr/sbin/grub2-install", "grub2-install"),
        ("x=/dev/mapper/loop0p1", "/dev/mapper"),
        ("zipl -V", "zipl"),
        ("kpartx -l", "kpartx"),
        ("extlinux --install /boot", "extlinux"),
    ],
)
def test_a_script_that_wants_devices(text: str, named: str) -> None:
    layout = laid_out(PLAIN.replace("TYPE", "ext4"))
    found = reasons(layout, {"finalise/ironic-agent/50-x": f"#!/bin/bash\n{text}\n"})
    assert found == (f"element ironic-agent: finalise.d/50-x uses {named}",)


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ("install/x/50-x", "losetup"),
        ("root/x/50-x", "$IMAGE_BLOCK_DEVICE"),
        ("finalise/x/50-x", "  # losetup is not used here"),
        ("finalise/x/50-x", "my-losetup-wrapper; IMAGE_BLOCK_DEVICE_X=1; ungrub-install"),
        ("cleanup/x/50-x", "dracut --regenerate-all"),
    ],
)
def test_a_script_that_does_not(title: str, text: str) -> None:
    assert reasons(laid_out(PLAIN.replace("TYPE", "ext4")), {title: text}) == ()


@pytest.mark.parametrize("phase", ["pre-finalise", "finalise", "cleanup"])
def test_every_phase_with_a_disk_counts(phase: str) -> None:
    found = reasons(laid_out(PLAIN.replace("TYPE", "ext4")), {f"{phase}/e/9-x": "losetup"})
    assert found == (f"element e: {phase}.d/9-x uses losetup",)
