"""The hard links of a layer: which names are one file, kept beside the layer, and a mark that tells copies of it.

An overlay copies a file up by one of its names, and keeps no note of where the copy came from where the file has other
names. So each such file of a layer is marked, with two things that the kernel copies up and that programs which copy
files do not take along together: the flag "no time of access" of its inode (also keeps the other one as it is), and a
time of access that no other file has. Neither is part of a layer's digest or of any output.

``links/<layer>`` in the store is a JSON array, an array for each group: the mark, whether the file has the flag, and
all names, as paths in the layer's folder. It is made anew where it lacks, for a layer of an earlier version.
"""

from __future__ import annotations

import array
import fcntl
import hashlib
import json
import os
import stat
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from stages.layers.extent import linked_names
from stages.layers.layer_digests import put

FOLDER = "links"
_NO_ATIME = 0x80  # FS_NOATIME_FL
_GET_FLAGS, _SET_FLAGS = 0x80086601, 0x40086602
if os.uname().machine.startswith("ppc"):  # its kernel has the two directions' bits the other way round
    _GET_FLAGS, _SET_FLAGS = 0x40086601, 0x80086602
_SECONDS = 1_000_000_000  # marks are times of the years 2001 to 2035, which every file system can hold


@dataclass(frozen=True)
class LinkGroup:
    """Names in one layer that are one file.

    ``mark`` is its time of access (nanoseconds), ``flagged`` tells whether it has the flag.
    """

    layer: str
    mark: int
    flagged: bool
    names: tuple[str, ...]


@dataclass(frozen=True)
class LayerGroups:
    """All groups of one layer."""

    groups: tuple[LinkGroup, ...]

    @cached_property
    def folders(self) -> dict[str, list[str]]:
        """Their names by the folder that they lie in: a stage touches few folders, and a tree may have many names."""
        names: dict[str, list[str]] = defaultdict(list)
        for group in self.groups:
            for name in group.names:
                names[name.rpartition("/")[0]].append(name)
        return names


class LayerLinks:
    """The groups of each layer of the store at ``root``."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._read_groups: dict[str, LayerGroups] = {}

    def keep(self, layer: str, folder: Path, names: Iterable[tuple[str, ...]], scratch: Path) -> None:
        """Mark and write down the groups (``names``) of a layer that is still in ``folder``. Raises OSError."""
        groups = LayerGroups(tuple(_mark(layer, str(folder), group) for group in names))
        rows = [[group.mark, group.flagged, *group.names] for group in groups.groups]
        put(scratch, self._root / FOLDER / layer, json.dumps(rows).encode())
        self._read_groups[layer] = groups

    def of(self, layer: str, scratch: Path) -> LayerGroups:
        """The groups of a layer in its place; found and marked now where no list of them is there. Raises OSError."""
        if layer not in self._read_groups:
            try:
                rows = json.loads((self._root / FOLDER / layer).read_bytes())
                groups = LayerGroups(tuple(LinkGroup(layer, row[0], row[1], tuple(row[2:])) for row in rows))
            except (OSError, ValueError, TypeError, LookupError):
                folder = self._root / "layers" / layer
                self.keep(layer, folder, linked_names(folder), scratch)
            else:
                self._read_groups[layer] = groups
        return self._read_groups[layer]


def _mark(layer: str, folder: str, names: tuple[str, ...]) -> LinkGroup:
    path = f"{folder}/{names[0]}"
    number = int.from_bytes(hashlib.sha256(f"{layer} {names}".encode("utf-8", "surrogateescape")).digest()[:8], "big")
    seconds, nanoseconds = divmod(number % (1 << 60), 1 << 30)
    flagged = set_flag(path, on=True)
    time = (_SECONDS + seconds) * 1_000_000_000 + nanoseconds % 1_000_000_000
    os.utime(path, ns=(time, os.lstat(path).st_mtime_ns), follow_symlinks=False)
    return LinkGroup(layer, os.lstat(path).st_atime_ns, flagged, names)  # (some keep no nanoseconds)


def _opened(path: str) -> int | None:
    """A regular file; None for anything else."""
    if not stat.S_ISREG(os.lstat(path).st_mode):
        return None
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _flags(handle: int) -> int:
    buffer = array.array("L", [0])
    fcntl.ioctl(handle, _GET_FLAGS, buffer)
    return buffer[0]


def has_flag(path: str) -> bool:
    """Has this file, of whatever kind, the flag. Raises OSError where it is not there."""
    handle = _opened(path)
    if handle is None:
        return False
    try:
        return bool(_flags(handle) & _NO_ATIME)
    except OSError:
        return False
    finally:
        os.close(handle)


def set_flag(path: str, *, on: bool) -> bool:
    """Give a file the flag, or take it away; whether it has it then: only regular files can, and not everywhere."""
    handle = _opened(path)
    if handle is None:
        return False
    try:
        flags = _flags(handle)
        new_flags = flags | _NO_ATIME if on else flags & ~_NO_ATIME
        if new_flags != flags:
            fcntl.ioctl(handle, _SET_FLAGS, array.array("L", [new_flags]))
    except OSError:
        return False
    finally:
        os.close(handle)
    return on
