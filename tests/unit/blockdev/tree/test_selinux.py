"""SELinux labels: told by the policy in the tree, and written into archives."""

from __future__ import annotations

import io
import stat
import tarfile
from pathlib import Path

import pytest

from blockdev.core.errors import BuildError
from blockdev.tree.selinux import labels_of, policy_of
from stages.outputs.formats.tree_tar import write_tree
from stages.outputs.slim.changes import finish
from stages.outputs.slim.policy import Policy

CONTEXTS = """/.*\tsystem_u:object_r:default_t:s0
/\t-d\tsystem_u:object_r:root_t:s0
/etc(/.*)?\tsystem_u:object_r:etc_t:s0
/etc/shadow.*\t--\tsystem_u:object_r:shadow_t:s0
/usr/bin(/.*)?\tsystem_u:object_r:bin_t:s0
/proc(/.*)?\t<<none>>
/boot(/.*)?\tsystem_u:object_r:boot_t:s0
"""


def tree_with(folder: Path, config: str, contexts: str = CONTEXTS, name: str = "targeted") -> Path:
    """A tree with a policy."""
    files = folder / f"etc/selinux/{name}/contexts/files"
    files.mkdir(parents=True)
    (folder / "etc/selinux/config").write_text(config)
    (files / "file_contexts").write_text(contexts)
    return folder


def test_the_trees_own_policy_labels_it(tmp_path: Path) -> None:
    tree = tree_with(tmp_path, "# SELINUX=disabled\nSELINUX=permissive\nSELINUXTYPE=targeted\n")
    files = tree / "etc/selinux/targeted/contexts/files"
    (files / "file_contexts.subs_dist").write_text("/usr/sbin /usr/bin\n")
    (files / "file_contexts.local").write_text("/etc/mine -- system_u:object_r:mine_t:s0\n")
    labels = labels_of(tree)
    assert labels is not None
    found = {
        path: labels.of(path, kind)
        for path, kind in {
            b"": stat.S_IFDIR,
            b"etc/passwd": stat.S_IFREG,
            b"etc/shadow": stat.S_IFREG,
            b"etc/shadow-": stat.S_IFDIR,
            b"etc/mine": stat.S_IFREG,
            b"usr/sbin/x": stat.S_IFREG,
            b"proc/x": stat.S_IFREG,
            b"./srv": stat.S_IFDIR,
        }.items()
    }
    assert {path: label.decode().removeprefix("system_u:object_r:") for path, label in found.items()} == {
        b"": "root_t:s0\0",
        b"etc/passwd": "etc_t:s0\0",
        b"etc/shadow": "shadow_t:s0\0",
        b"etc/shadow-": "etc_t:s0\0",
        b"etc/mine": "mine_t:s0\0",
        b"usr/sbin/x": "bin_t:s0\0",
        b"proc/x": "",
        b"./srv": "default_t:s0\0",
    }
    assert labels.at("/boot").of(b"", stat.S_IFDIR) == b"system_u:object_r:boot_t:s0\0"
    assert labels.at("/boot/").of(b"vmlinuz", stat.S_IFREG) == b"system_u:object_r:boot_t:s0\0"


@pytest.mark.parametrize(
    "config", ["SELINUX=disabled\nSELINUXTYPE=targeted\n", "", "SELINUX=enforcing\nSELINUXTYPE=minimum\n"]
)
def test_a_tree_that_uses_no_policy_has_no_labels(tmp_path: Path, config: str) -> None:
    assert labels_of(tree_with(tmp_path, config)) is None


def test_another_type_of_policy_is_found(tmp_path: Path) -> None:
    tree = tree_with(tmp_path, "SELINUX=enforcing\nSELINUXTYPE=mls\n", name="mls")
    assert policy_of(tree) == tree / "etc/selinux/mls/contexts/files/file_contexts"


def test_a_policy_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    tree = tree_with(tmp_path, "SELINUX=enforcing\n", "/etc -q system_u:object_r:etc_t:s0\n")
    with pytest.raises(BuildError, match="cannot be read") as caught:
        labels_of(tree)
    assert caught.value.where == "/etc/selinux/targeted/contexts/files/file_contexts"


def test_an_archive_has_the_labels_of_all_that_is_in_it(tmp_path: Path) -> None:
    tree = tree_with(tmp_path / "tree", "SELINUX=enforcing\nSELINUXTYPE=targeted\n")
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/a").write_text("a")
    (tree / "usr/bin/b").hardlink_to(tree / "usr/bin/a")
    (tree / "usr/bin/c").symlink_to("a")
    out = io.BytesIO()
    write_tree(tree, out, epoch=5, finish=finish(tree, Policy("no"), {"/etc/added": b"x"}), prefix="rootfs")
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        found = {member.name: member.pax_headers.get("SCHILY.xattr.security.selinux", "") for member in archive}
    assert found["rootfs/etc/added"] == "system_u:object_r:etc_t:s0\0"
    assert {found[f"rootfs/usr/bin/{name}"] for name in "ac"} == {"system_u:object_r:bin_t:s0\0"}
    assert found["rootfs/usr/bin/b"] == ""  # another name of the same file
    assert found["rootfs"] == "system_u:object_r:root_t:s0\0"
