"""The ids of the host that a build's root and users stand for when root itself starts the build."""

from __future__ import annotations

from pathlib import Path

from stages.sandbox.user_namespace import IDS, subordinate

# Far above the ranges that useradd gives away (from 100000 on) and those of systemd-nspawn and homed.
FIRST = 1879048192
_MAPS = (Path("/proc/self/uid_map"), Path("/proc/self/gid_map"))


def root_range() -> tuple[int, int]:
    """First id and count: the range given to root or to "containers" in /etc/subuid, else one that nobody uses.

    Both files must name the same range: user and group ids are shifted alike. In a user namespace that has not many
    ids (a pod's has 65536) all but root's own: the highest one, which no user may have, is missing inside.
    """
    for name in ("root", "containers"):
        users = subordinate("/etc/subuid", (name, "0") if name == "root" else (name,))
        groups = subordinate("/etc/subgid", (name, "0") if name == "root" else (name,))
        if users == groups and users[1] >= IDS:
            return users[0], IDS
    there = min(ids_of(map_.read_text(encoding="ascii")) for map_ in _MAPS)
    if there < FIRST + IDS:
        return 1, min(there - 1, IDS)
    return FIRST, IDS


def ids_of(text: str) -> int:
    """How many ids from 0 on without a gap a user namespace has, by the text of its map."""
    count = 0
    for inside, _, length in sorted(tuple(int(word) for word in line.split()) for line in text.splitlines()):
        if inside > count:
            break
        count = max(count, inside + length)
    return count


def closed_folder(path: Path) -> Path | None:
    """The first folder on the way to ``path`` that strangers may not enter, or None."""
    for folder in reversed((path, *path.parents)):
        if not folder.stat().st_mode & 0o001:
            return folder
    return None
