"""What the options of a build say about a disk."""

from __future__ import annotations

from dataclasses import dataclass

ROOT_NODE = "mkfs_root"  # the one that the options speak of (diskimage-builder's rule; in version 2 the one on /)
JOURNAL = 64  # MiB
_EXT4_BYTES_PER_INODE = 4096
_MIB = 1 << 20
_BESIDE_JOURNAL = 8 * _MIB  # mke2fs refuses a journal that takes more than half of a file system


@dataclass(frozen=True)
class Options:
    """The options of one build.

    ``root_type``, ``root_label`` and ``root_options`` are for the root file system where it says nothing itself.
    ``size`` is that of disks which say none, in bytes (None: computed); ``extra`` bytes more than the tree takes (None:
    two thirds of it). ``journal`` in MiB is for an ext4 root; ``seed`` is what all identifiers are derived from.
    """

    root_type: str = "ext4"
    root_label: str = ""
    root_options: tuple[str, ...] = ()
    size: int | None = None
    extra: int | None = None
    journal: int = JOURNAL
    max_resize: str = ""
    block_size: int | None = None
    seed: str = ""

    @property
    def label(self) -> str:
        """The label of the root file system, as diskimage-builder chooses it."""
        return self.root_label or ("img-rootfs" if self.root_type == "xfs" else "cloudimg-rootfs")

    @property
    def mkfs(self) -> tuple[str, ...]:
        """The options for the root's mkfs: many inodes and the journal for ext4, then what the user gave."""
        first: tuple[str, ...] = ()
        if self.root_type == "ext4":
            first = ("-i", str(_EXT4_BYTES_PER_INODE), "-J", f"size={self.journal}")
        if self.max_resize:
            first += ("-E", f"resize={self.max_resize}")
        return first + self.root_options

    def root_needs(self, tree: int) -> int:
        """Bytes for a root file system with ``tree`` bytes of files in it, and room to work."""
        journal = self.journal * _MIB if self.root_type == "ext4" else 0
        content = tree * 10 // 6 if self.extra is None else tree + self.extra
        return max(content + journal, 2 * journal + _BESIDE_JOURNAL if journal else 0)
