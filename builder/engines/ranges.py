"""The ids of the host that a build's root and users stand for when root itself starts the build."""

from __future__ import annotations

from pathlib import Path

from stages.namespace import IDS, subordinate

# Far above the ranges that useradd gives away (from 100000 on) and those of systemd-nspawn and homed.
FIRST = 1879048192


def root_range() -> tuple[int, int]:
    """First id and count: the range given to root or to "containers" in /etc/subuid, else one that nobody uses.

    Both files must name the same range: user and group ids are shifted alike.
    """
    for name in ("root", "containers"):
        users = subordinate("/etc/subuid", (name, "0") if name == "root" else (name,))
        groups = subordinate("/etc/subgid", (name, "0") if name == "root" else (name,))
        if users == groups and users[1] >= IDS:
            return users[0], IDS
    return FIRST, IDS


def closed_folder(path: Path) -> Path | None:
    """The first folder on the way to ``path`` that strangers may not enter, or None."""
    for folder in reversed((path, *path.parents)):
        if not folder.stat().st_mode & 0o001:
            return folder
    return None
