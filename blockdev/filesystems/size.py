"""How large a file system must be at least to hold a tree: pure arithmetic, on the safe side of what each mkfs does."""

from __future__ import annotations

from collections.abc import Callable

from blockdev.core.errors import BuildError
from blockdev.tree.walk import Statistics

MIB = 1 << 20
EXT_BLOCK = 4096
_EXT_INODE = 256
EXT_INODE_RATIO = 16384
# Blocks of file system, and of the journal that mke2fs gives it (ext2fs_default_journal_size).
_JOURNALS = ((2048, 0), (32768, 1024), (262144, 4096), (524288, 8192), (4194304, 16384), (8388608, 32768))
_LARGEST_JOURNALS = ((16777216, 65536), (33554432, 131072))
_LARGEST_JOURNAL = 262144
_FAT_CLUSTERS = 65524
_SWAP = 10 * 65536
_BTRFS_LEAST = 128 * MIB
_XFS_LEAST = 300 * MIB  # mkfs.xfs refuses less from 5.19 on


def minimum_size(kind: str, tree: Statistics) -> int:
    """Bytes, a whole number of MiB, in which a file system of default options certainly holds the tree.

    * ext: each content in blocks of 4 KiB and 1 byte in 256 for its extents, two blocks a folder and 1.5 times what its
      names take, a block for attributes; 256 bytes for every inode (one in 16 KiB, or as many as the tree has and 1/8
      more); the journal that mke2fs chooses for the size; 1% and 1 MiB for bitmaps and group descriptors.
    * vfat: each content in clusters (2 KiB, larger where FAT16 would run out of them), entries of 32 bytes for each
      name and every 13 characters of it, two FATs, reserved sectors and the root folder.
    * btrfs: contents in 4 KiB, 8 KiB of metadata an inode (twice: DUP), a tenth for the rest of chunks, or what
      mkfs.btrfs itself takes for needed; 128 MiB more.
    * xfs: contents in 4 KiB, 512 bytes an inode, a tenth for free space trees, its log; 300 MiB at least.
    * squashfs, erofs: what they take uncompressed; by how much compression helps, only writing them tells.
    * swap: ten pages of 64 KiB.
    """
    formula = _FORMULAS.get(kind)
    if formula is None:
        raise BuildError(f"there is no size to foretell for the file system {kind!r}")
    return -(-formula(tree) // MIB) * MIB


def _whole(size: int, unit: int) -> int:
    return -(-size // unit) * unit


def _journal(size: int) -> int:
    blocks = size // EXT_BLOCK
    for limit, journal in (*_JOURNALS, *_LARGEST_JOURNALS):
        if blocks < limit:
            return journal * EXT_BLOCK
    return _LARGEST_JOURNAL * EXT_BLOCK


def _ext(tree: Statistics, *, journal: bool) -> int:
    content = sum(_whole(size, EXT_BLOCK) + size // 256 for size in tree.sizes)
    names = sum(8 + _whole(name, 4) for name in tree.names)
    content += 2 * EXT_BLOCK * tree.folders + names * 3 // 2 + EXT_BLOCK * tree.attributes + 8 * EXT_BLOCK
    size = content
    while True:
        # The writer counts names, of which a file may have several.
        inodes = max(size // EXT_INODE_RATIO, len(tree.names) + len(tree.names) // 8 + 32)
        needed = content + _EXT_INODE * inodes + (_journal(size) if journal else 0) + size // 100 + MIB
        if needed <= size:
            return size
        size = max(needed, size + MIB)


def _vfat(tree: Statistics) -> int:
    size = MIB
    while True:
        cluster = 2048
        while size // cluster > _FAT_CLUSTERS and size < 512 * MIB:
            cluster *= 2
        cluster = max(cluster, 4096 << (size >> 34).bit_length()) if size >= 512 * MIB else cluster
        entries = 32 * sum(2 + -(-name // 13) for name in tree.names)
        content = sum(_whole(file, cluster) for file in tree.sizes) + tree.folders * (cluster + 64) + 2 * entries
        needed = content + 8 * (content // cluster + 2) + 64 * 512 + 512 * 32 + 2 * cluster
        if needed <= size:
            return size
        size = max(_whole(needed, MIB), size + MIB)


def _btrfs(tree: Statistics) -> int:
    content = sum(_whole(size, 4096) for size in tree.sizes)
    metadata = 2 * (8192 * tree.inodes + sum(256 + name for name in tree.names) + content // 256)
    needed = (content + metadata) * 11 // 10
    # mkfs.btrfs makes a file longer that is below its own estimate: four pages a name and an eighth of the contents.
    estimate = 2 * _whole(16384 * (len(tree.names) + 1) + content // 8, 32 * MIB) + _whole(content, 8 * MIB)
    return max(needed, estimate) + _BTRFS_LEAST


def _xfs(tree: Statistics) -> int:
    content = sum(_whole(size, 4096) for size in tree.sizes) + 4096 * tree.folders
    content += 512 * tree.inodes + sum(24 + name for name in tree.names) * 2
    return max(_XFS_LEAST, content * 11 // 10 + 96 * MIB)


def _readonly(tree: Statistics) -> int:
    names = sum(32 + name for name in tree.names)
    return sum(_whole(size, 4096) for size in tree.sizes) + 512 * tree.inodes + 4096 * tree.folders + 2 * names + MIB


_FORMULAS: dict[str, Callable[[Statistics], int]] = {
    "ext2": lambda tree: _ext(tree, journal=False),
    "ext3": lambda tree: _ext(tree, journal=True),
    "ext4": lambda tree: _ext(tree, journal=True),
    "vfat": _vfat,
    "btrfs": _btrfs,
    "xfs": _xfs,
    "squashfs": _readonly,
    "erofs": _readonly,
    "swap": lambda _: _SWAP,
}
