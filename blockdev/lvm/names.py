"""Which names LVM gives to groups and volumes (lvm(8), VALID NAMES; the lengths are those of its tools)."""

from __future__ import annotations

import re

LONGEST = 127  # bytes of a name of device-mapper
_LETTERS = re.compile(r"[A-Za-z0-9+_.-]+\Z")
_STARTS = ("snapshot", "pvmove")
_PARTS = (
    *("_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_imeta", "_iorig", "_mimage", "_mlog", "_pmspare"),
    *("_rimage", "_rmeta", "_tdata", "_tmeta", "_vdata", "_vorigin", "_wcorig"),
)
# A group is a folder in /dev; these are there on every machine.
_IN_DEV = frozenset(
    (
        *("block", "bus", "char", "console", "core", "cpu", "disk", "dri", "fd", "full", "fuse", "hugepages", "input"),
        *("kmsg", "kvm", "log", "loop-control", "lvm", "mapper", "mem", "mqueue", "net", "null", "port", "ptmx", "pts"),
        *("random", "rtc", "shm", "snd", "stderr", "stdin", "stdout", "tty", "urandom", "vfio", "zero"),
    )
)


def refused(name: str) -> str:
    """Why LVM takes no volume of this name, as the end of a sentence; empty where it does."""
    return _refused_letters(name) or _reserved(name)


def refused_group(name: str) -> str:
    """Why LVM takes no group of this name, as the end of a sentence; empty where it does."""
    if name in _IN_DEV:
        return f"is refused: a group is the folder /dev/{name}, and that name is taken on every machine"
    return _refused_letters(name)


def refused_pair(group: str, logical: str) -> str:
    """Why a volume's name is too long together with its group's; empty where it is not."""
    mapped = len(group.replace("-", "--")) + len(logical.replace("-", "--")) + 1  # /dev/mapper/GROUP-VOLUME
    tools = len(group) + len(logical) + 3
    if max(mapped, tools) <= LONGEST:
        return ""
    return f"is too long together with that of its group {group}: {max(mapped, tools)} characters of {LONGEST}"


def _refused_letters(name: str) -> str:
    if not name:
        return "is empty"
    if not _LETTERS.match(name):
        return "has characters other than a-z A-Z 0-9 + _ . -"
    if name.startswith("-"):
        return "begins with a hyphen"
    if name in (".", ".."):
        return "is that of a folder"
    if len(name) > LONGEST:
        return f"has {len(name)} characters, more than {LONGEST}"
    return ""


def _reserved(name: str) -> str:
    for start in _STARTS:
        if name.startswith(start):
            return f'is reserved: LVM uses names that begin with "{start}" itself'
    for part in _PARTS:
        if part in name:
            return f'is reserved: LVM uses names with "{part}" in them itself'
    return ""
