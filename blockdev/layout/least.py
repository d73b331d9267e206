"""The least size of a file system: what its mkfs refuses to go below, whatever is to be in it. Measured; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_KIB, _MIB = 1 << 10, 1 << 20
# Bytes; by e2fsprogs 1.47, dosfstools 4.2, xfsprogs 6.1 and 6.13, btrfs-progs 6.2 and 6.14, f2fs-tools 1.16, jfsutils
# 1.1, nilfs-tools 2.2, reiserfsprogs 3.6. A test makes those that are written without root at these sizes and below.
_LEAST = {
    **dict.fromkeys(("ext2", "ext3", "ext4"), 224 * _KIB),
    **dict.fromkeys(("vfat", "fat", "msdos"), 52 * _KIB),
    "swap": 40 * _KIB,
    "xfs": 300 * _MIB,
    "btrfs": 109 * _MIB,
    "f2fs": 44 * _MIB,
    "jfs": 16 * _MIB,
    "nilfs2": 128 * _MIB,
    "reiserfs": 32 * _MIB,
}
# Options with which less will do.
_SMALLER = {"btrfs": (("--mixed", "-M"), 16 * _MIB, 45 * _MIB), "xfs": (("--unsupported",), 16 * _MIB, 300 * _MIB)}
_SWAP_PAGES = 10
_JOURNAL_LEAST = 4  # MiB: 1024 blocks of 4 KiB


@dataclass(frozen=True)
class Least:
    """``size`` in bytes, and ``why`` in words (what refuses less); ``journal``: is it for its journal."""

    size: int
    why: str
    journal: bool = False


def least(kind: str, options: Sequence[str]) -> Least:
    """The least size of an empty file system of this kind, made with these options of its mkfs."""
    size = _LEAST.get(kind, 0)
    if options and kind in _SMALLER:
        words, smallest, otherwise = _SMALLER[kind]
        size = smallest if any(option.startswith(words) for option in options) else otherwise
    if kind == "swap" and options and (page := options[-1].rpartition("=")[2]).isdecimal():
        size = _SWAP_PAGES * int(page)
    why = "mkswap makes none" if kind == "swap" else f"mkfs.{kind} makes none"
    if kind.startswith("ext") and (journal := journal_size(options)):
        size = max(size, 2 * journal * _MIB + 8 * _KIB)
        return Least(size, f"its journal of {journal} MiB may take half of it", journal=True)
    return Least(size, f"{why} that is smaller")


def journal_size(options: Sequence[str]) -> int | None:
    """The MiB of journal that options of mke2fs ask for; None where they ask for none."""
    for index, option in enumerate(options):
        value = options[index + 1] if option == "-J" and index + 1 < len(options) else option.removeprefix("-J")
        if option.startswith("-J"):
            for word in value.split(","):
                name, _, number = word.partition("=")
                if name == "size" and number.isdecimal():
                    return int(number)
    return None


def is_too_small_a_journal(kind: str, options: Sequence[str]) -> bool:
    """Do the options ask for a journal that mke2fs refuses."""
    journal = journal_size(options)
    return kind.startswith("ext") and journal is not None and journal < _JOURNAL_LEAST
