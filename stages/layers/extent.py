"""What a folder holds, at one walk."""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from stages.layers.layer_digests import SMALL_ENTRIES, SMALL_LENGTH


@dataclass(frozen=True)
class Extent:
    """What a folder holds: bytes on the disk (hard links once), a digest over names, modes, owners, sizes, times.

    ``entries`` and ``length`` (bytes of files) tell how long it takes to read.
    """

    bytes: int
    fingerprint: str
    entries: int = 0
    length: int = 0

    @property
    def is_small(self) -> bool:
        """Can it be read in a few milliseconds."""
        return self.entries <= SMALL_ENTRIES and self.length <= SMALL_LENGTH


def measure(path: Path) -> Extent:
    """Walk a folder once; entries that go away meanwhile do not count."""
    seen: set[int] = set()
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
                entry = (
                    os.path.relpath(full, path),
                    status.st_mode,
                    status.st_uid,
                    status.st_gid,
                    size,
                    status.st_mtime_ns,
                )
                digest.update(repr(entry).encode())
    return Extent(total, digest.hexdigest(), entries, length)


def occupied(path: Path) -> int:
    """Bytes on the disk of a folder and all below it, hard links counted once."""
    return measure(path).bytes
