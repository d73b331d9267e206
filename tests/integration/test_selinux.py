"""SELinux labels in file systems that are written without the kernel, read back by their own tools."""

from __future__ import annotations

import subprocess
from pathlib import Path

from blockdev import filesystems
from blockdev.filesystems import Spec
from blockdev.tree.selinux import labels_of
from tests.integration.command import has
from tests.integration.engine_cases import missing
from tests.unit.blockdev.tree.test_selinux import tree_with

MIB = 1 << 20
LABEL = b"system_u:object_r:shadow_t:s0\0"


def _tree(tmp_path: Path) -> Path:
    tree = tree_with(tmp_path / "tree", "SELINUX=enforcing\nSELINUXTYPE=targeted\n")
    (tree / "etc/shadow").write_text("secret")
    (tree / "boot/grub").mkdir(parents=True)
    return tree


def _attribute(image: Path, path: str, scratch: Path) -> bytes:
    request = f"ea_get -f {scratch / 'value'} {path} security.selinux"
    subprocess.run(["debugfs", "-R", request, str(image)], check=True, capture_output=True)
    return (scratch / "value").read_bytes()


def test_ext4_has_the_labels_of_its_place_in_the_tree(tmp_path: Path) -> None:
    tree = _tree(tmp_path)
    labels = labels_of(tree)
    assert labels is not None
    image, boot = tmp_path / "image", tmp_path / "boot-image"
    written = filesystems.write(Spec("ext4", epoch=5, seed="x"), image, 0, 16 * MIB, tree, ["boot"], labels)
    filesystems.write(Spec("ext4", epoch=5, seed="y"), boot, 0, 16 * MIB, tree / "boot", (), labels.at("/boot"))
    assert written.remarks == ()
    assert _attribute(image, "/etc/shadow", tmp_path) == LABEL
    assert _attribute(image, "/", tmp_path) == b"system_u:object_r:root_t:s0\0"
    assert _attribute(boot, "/grub", tmp_path) == b"system_u:object_r:boot_t:s0\0"
    filesystems.check(image, 0, 16 * MIB, "ext4")


def test_xfs_has_them_and_squashfs_says_that_it_has_none(tmp_path: Path) -> None:
    if not has("mkfs.xfs", "mksquashfs"):
        missing("there is no mkfs.xfs or mksquashfs")
    tree = _tree(tmp_path)
    labels = labels_of(tree)
    image = tmp_path / "image"
    filesystems.write(Spec("xfs", epoch=5, seed="x"), image, 0, 320 * MIB, tree, (), labels)
    filesystems.check(image, 0, 320 * MIB, "xfs")
    assert LABEL.rstrip(b"\0") in image.read_bytes()
    written = filesystems.write(Spec("squashfs", epoch=5), tmp_path / "packed", 0, 16 * MIB, tree, (), labels)
    assert any("SELinux" in remark for remark in written.remarks)
