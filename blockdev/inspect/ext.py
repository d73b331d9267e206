"""The superblock of ext2, ext3 and ext4 (the kernel's Documentation/filesystems/ext4/super.rst). Pure."""

from __future__ import annotations

import struct
import uuid

from blockdev.inspect.bytes_view import View, text
from blockdev.inspect.model import Content

_PLACE = 1024
_COMPATIBLE = {
    0x4: "has_journal",
    0x8: "ext_attr",
    0x10: "resize_inode",
    0x20: "dir_index",
    0x200: "sparse_super2",
    0x400: "fast_commit",
    0x800: "stable_inodes",
    0x1000: "orphan_file",
}
_INCOMPATIBLE = {
    0x2: "filetype",
    0x4: "needs_recovery",
    0x8: "journal_dev",
    0x10: "meta_bg",
    0x40: "extent",
    0x80: "64bit",
    0x100: "mmp",
    0x200: "flex_bg",
    0x400: "ea_inode",
    0x2000: "metadata_csum_seed",
    0x4000: "large_dir",
    0x8000: "inline_data",
    0x10000: "encrypt",
    0x20000: "casefold",
}
_READ_ONLY = {
    0x1: "sparse_super",
    0x2: "large_file",
    0x8: "huge_file",
    0x10: "uninit_bg",
    0x20: "dir_nlink",
    0x40: "extra_isize",
    0x100: "quota",
    0x200: "bigalloc",
    0x400: "metadata_csum",
    0x2000: "project",
    0x8000: "verity",
    0x10000: "orphan_present",
}
_JOURNAL, _RECOVER, _JOURNAL_DEVICE = 0x4, 0x4, 0x8
# What the drivers of ext2 and ext3 know; one more feature makes it an ext4.
_OLD_INCOMPATIBLE = 0x2 | 0x4 | 0x10
_OLD_READ_ONLY = 0x1 | 0x2 | 0x4
_CLEAN, _ERRORS = 1, 2


def read(view: View) -> Content | None:
    """An ext file system's superblock, None where there is none."""
    raw = view.read(_PLACE, 1024)
    if raw[56:58] != b"\x53\xef":
        return None
    low, free_low, log = struct.unpack_from("<4xI4xI8xI", raw)
    state, compatible, incompatible, read_only = struct.unpack_from("<58xH32xIII", raw)
    if not low or log > 6:
        return None
    wide = bool(incompatible & 0x80)
    blocks, free = (
        value | (struct.unpack_from("<I", raw, at)[0] << 32 if wide else 0)
        for value, at in ((low, 0x150), (free_low, 0x158))
    )
    block = 1024 << log
    journal = bool(compatible & _JOURNAL)
    return Content(
        kind=_kind(journal, incompatible, read_only),
        label=text(raw[120:136]),
        uuid=str(uuid.UUID(bytes=raw[104:120])),
        size=blocks * block,
        free=free * block,
        clean=bool(state & _CLEAN) and not state & _ERRORS and not incompatible & _RECOVER,
        details={
            "block_size": block,
            "inodes": struct.unpack_from("<I", raw)[0],
            "journal": journal,
            "features": [
                *_names(compatible, _COMPATIBLE, "C"),
                *_names(incompatible, _INCOMPATIBLE, "I"),
                *_names(read_only, _READ_ONLY, "R"),
            ],
            "last_mounted_on": text(raw[136:200]),
        },
    )


def _kind(journal: bool, incompatible: int, read_only: int) -> str:
    if incompatible & _JOURNAL_DEVICE:
        return "ext journal"
    if incompatible & ~_OLD_INCOMPATIBLE or read_only & ~_OLD_READ_ONLY:
        return "ext4"
    return "ext3" if journal else "ext2"


def _names(field: int, names: dict[int, str], kind: str) -> list[str]:
    """The features of a field; one without a name as dumpe2fs writes it: FEATURE_C5."""
    return [names.get(1 << bit, f"FEATURE_{kind}{bit}") for bit in range(32) if field >> bit & 1]
