"""Labels and identifiers as each kind of file system takes them."""

from __future__ import annotations

import re

# The longest label in bytes: ext4(5), mkfs.xfs(8), the FAT specification, mkswap(8), btrfs(5), mkfs.erofs(1).
LONGEST = {
    "ext2": 16,
    "ext3": 16,
    "ext4": 16,
    "xfs": 12,
    "vfat": 11,
    "fat": 11,
    "msdos": 11,
    "swap": 15,
    "btrfs": 255,
    "erofs": 15,
    "f2fs": 511,
    "squashfs": 0,
}
FAT = frozenset({"vfat", "fat", "msdos"})
EXT = frozenset({"ext2", "ext3", "ext4"})
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\Z")
_SERIAL = re.compile(r"[0-9A-Fa-f]{4}-?[0-9A-Fa-f]{4}\Z")
_NOT_IN_FAT = frozenset('"*+,./:;<=>?[\\]|')


def written(kind: str, label: str) -> str:
    """The label as the file system keeps it: FAT knows capitals only."""
    return label.upper() if kind in FAT else label


def refused(kind: str, label: str) -> str:
    """Why a file system of this kind cannot have the label; "" where it can."""
    longest = LONGEST.get(kind, 255)
    length = len(label.encode())
    if length > longest:
        if not longest:
            return f"{kind} has no labels"
        return f"the label {label!r} has {length} bytes, {kind} takes {longest} at most"
    if any(character < " " for character in label):
        return f"the label {label!r} has a control character in it"
    if kind in FAT and (_NOT_IN_FAT & set(label) or not label.isascii()):
        odd = "".join(sorted(_NOT_IN_FAT))
        return f"the label {label!r} has a character that FAT does not take (not ASCII, or one of {odd})"
    return ""


def is_uuid(text: str, kind: str = "") -> bool:
    """Is it a UUID, or for FAT a serial number (``ABCD-1234``)."""
    return bool((_SERIAL if kind in FAT else _UUID).match(text))
