"""What a folder holds, at one walk."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from stages.layers.layer_digests import SMALL_ENTRIES, SMALL_LENGTH


@dataclass(frozen=True)
class Extent:
    """What a folder holds: bytes on the disk (hard links once), a digest over names, modes, owners, sizes, times.

    ``entries`` and ``length`` (bytes of files) tell how long it takes to read. ``links`` are the names of each file
    that has several, by their path in the folder, sorted.
    """

    bytes: int
    fingerprint: str
    entries: int = 0
    length: int = 0
    links: tuple[tuple[str, ...], ...] = ()

    @property
    def is_small(self) -> bool:
        """Can it be read in a few milliseconds."""
        return self.entries <= SMALL_ENTRIES and self.length <= SMALL_LENGTH


def measure(path: Path) -> Extent:
    """Walk a folder once; entries that go away meanwhile do not count."""
    seen: set[int] = set()
    names: dict[int, list[str]] = {}
    total = entries = length = 0
    digest = hashlib.sha256()
    for directory, folders, files in os.walk(path):
        folders.sort()
        for name in (".", *sorted(files)):
            full = f"{directory}/{name}"
            with contextlib.suppress(OSError):
                status = os.lstat(full)
                if status.st_ino not in seen:
                    seen.add(status.st_ino)
                    total += status.st_blocks * 512
                size = 0 if name == "." else status.st_size
                entries, length = entries + 1, length + size
                relative = os.path.relpath(full, path)
                if status.st_nlink > 1 and name != "." and not _is_whiteout(status):
                    names.setdefault(status.st_ino, []).append(relative)
                entry = (
                    relative,
                    status.st_mode,
                    status.st_uid,
                    status.st_gid,
                    size,
                    status.st_mtime_ns,
                )
                digest.update(repr(entry).encode())
    links = tuple(sorted(tuple(sorted(group)) for group in names.values() if len(group) > 1))
    return Extent(total, digest.hexdigest(), entries, length, links)


def _is_whiteout(status: os.stat_result) -> bool:
    """The overlay's note that a name is gone: one inode stands for many of them."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def linked_names(path: Path) -> tuple[tuple[str, ...], ...]:
    """The names of each file of a folder that has several."""
    return measure(path).links


def occupied(path: Path) -> int:
    """Bytes on the disk of a folder and all below it, hard links counted once."""
    return measure(path).bytes
