"""A file system that its mkfs would refuse to make so small is refused in the plan, with the size that it needs."""

from __future__ import annotations

import pytest

from blockdev.configuration.read import read
from blockdev.core.errors import UsageError
from blockdev.layout.least import least
from blockdev.layout.model import Layout
from blockdev.layout.options import Options
from blockdev.layout.plan import plan

MIB = 1 << 20


def layout(small: str, part: str = "92MiB", tree: int = 0, disk: int | None = None) -> Layout:
    text = f"""
- local_loop: {{name: image0}}
- partitioning:
    base: image0
    label: gpt
    partitions:
    - {{name: small, size: {part}, mkfs: {{{small}, label: small, mount: {{mount_point: /var/log}}}}}}
    - {{name: r, size: 100%, mkfs: {{type: ext4, label: r, mount: {{mount_point: /}}}}}}
"""
    return plan(read(text, "f.yaml"), Options(size=disk), tree)


@pytest.mark.parametrize(
    ("small", "needed"),
    [
        ("type: xfs", "xfs needs 300 MiB at least (mkfs.xfs makes none"),
        ("type: btrfs", "btrfs needs 109 MiB at least"),
        ("type: nilfs2", "nilfs2 needs 128 MiB at least"),
        ("type: ext4, opts: -J size=64", "ext4 needs 128.01 MiB at least (its journal of 64 MiB"),
        ("type: ext4, opts: -J size=2", "its journal has 2 MiB"),
    ],
)
def test_refused_before_anything_runs(small: str, needed: str) -> None:
    with pytest.raises(UsageError) as refused:
        layout(small, disk=2048 * MIB)
    assert needed in refused.value.what
    assert str(refused.value.where).startswith("f.yaml:7")


@pytest.mark.parametrize(
    "small", ["type: btrfs, opts: --mixed", "type: f2fs", "type: ext4", "type: vfat", "type: swap", "type: erofs"]
)
def test_large_enough(small: str) -> None:
    assert layout(small, disk=2048 * MIB)


def test_what_grows_with_the_tree_is_let_alone_until_that_is_known() -> None:
    assert layout("type: xfs", part="10%")
    with pytest.raises(UsageError, match="xfs needs 300 MiB"):
        layout("type: xfs", part="10%", tree=MIB)
    with pytest.raises(UsageError, match="xfs needs 300 MiB"):
        layout("type: xfs")  # of a fixed size it will not grow


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "ext2"])
def test_a_root_of_no_size_has_its_least(kind: str) -> None:
    text = f"- local_loop: {{name: image0, mkfs: {{name: mkfs_root, type: {kind}, mount: {{mount_point: /}}}}}}"
    made = plan(read(text, "f.yaml"), Options(journal=4), 0)
    assert made.storages["image0"].size >= least(kind, made.root.options).size


def test_a_disk_asked_to_be_too_small() -> None:
    text = "- local_loop: {name: image0, mkfs: {name: mkfs_root, mount: {mount_point: /}}}"
    with pytest.raises(UsageError, match="its journal of 64 MiB"):
        plan(read(text, "f.yaml"), Options(size=100 * MIB), 0)
    assert plan(read(text, "f.yaml"), Options(size=100 * MIB, journal=4), 0)
