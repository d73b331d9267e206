"""Room on the store's disk: looked at while a build works, for whoever meets a full disk tidies up.

A tool that cannot write removes what it has begun, and a script may go on as if nothing had been. Then the disk has
room again when anybody looks. So a thread looks all the time: the nearer the end the more often, so that nobody can
write what is left in between. What is written in one go is seen; a request for more room than there is, refused at
once, is not, but for what its program says of it.
"""

from __future__ import annotations

import errno
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from blockdev.core.errors import BuildError

MOST = 16 << 20  # bytes: a disk with less than that counts as full
PART = 50  # ... or with less than this part of it, where that is less
MOST_INODES = 64
WORDS = ("No space left on device", "Disk quota exceeded")  # what programs say (strerror of ENOSPC and EDQUOT)
_FASTEST = 3 << 30  # bytes that can be written in a second
_FASTEST_INODES = 300_000  # files that can be made in a second
_SHORTEST, _LONGEST = 0.001, 0.1  # seconds between two looks


@dataclass(frozen=True)
class Room:
    """What a file system has left: bytes and inodes, free and in all (no inodes in all: there is no bound)."""

    free: int
    total: int
    free_inodes: int
    inodes: int

    @property
    def spare(self) -> int:
        """Bytes until it counts as full."""
        return self.free - min(self.total // PART, MOST)

    @property
    def spare_inodes(self) -> int:
        """The same of inodes."""
        return self.free_inodes - min(self.inodes // PART, MOST_INODES) if self.inodes else 1 << 62

    @property
    def is_full(self) -> bool:
        """Can hardly anything be written any more."""
        return self.spare <= 0 or self.spare_inodes <= 0

    def __str__(self) -> str:
        if self.spare_inodes <= 0:
            return f"{self.free_inodes} of {self.inodes} inodes free"
        return f"{self.free >> 20} of {self.total >> 20} MiB free"


def look(root: Path) -> Room:
    """The room that the file system of ``root`` has for its user now. Raises OSError."""
    status = os.statvfs(root)
    size = status.f_frsize
    return Room(status.f_bavail * size, status.f_blocks * size, status.f_favail, status.f_files)


def disk_full(root: Path, room: Room | None = None, during: str = "") -> BuildError:
    """What to tell a person when the store's disk has, or had meanwhile, no room left."""
    now = look(root)
    lowest = room if room is not None and room.is_full else now
    inodes = lowest.spare_inodes <= 0
    by_now = ", by now it has room again" if lowest.is_full and not now.is_full else ""
    return BuildError(
        f"the disk that holds the store is full ({lowest}{by_now}){during}",
        where=str(root),
        hint=f"make room there{' (it has too many files)' if inodes else ''}, or let go of what is kept: "
        "`dib-ctr cache prune --older-than 7`",
    )


def explained(root: Path, error: OSError) -> BuildError | None:
    """The sentence for an error that tells of the store's disk; None for another one."""
    if error.errno == errno.ENOSPC:
        return disk_full(root)
    if error.errno == errno.EDQUOT:
        return BuildError(
            "the quota of the store's owner on its disk is used up",
            where=str(root),
            hint="have the quota raised, or let go of what is kept: `dib-ctr cache prune --older-than 7`",
        )
    if error.errno == errno.EROFS:
        return read_only(root)
    return None


def read_only(root: Path) -> BuildError:
    """What to tell a person whose store cannot be written to, whoever asks."""
    return BuildError(
        "the store lies on a file system that is mounted read-only",
        where=str(root),
        hint="mount it so that it can be written to, or put the store elsewhere (--store, DIB_CTR_STORE)",
    )


def case_insensitive(root: Path) -> BuildError:
    """What to tell a person whose store takes upper and lower case for the same."""
    return BuildError(
        "the store lies on a file system, or in a folder, that takes upper and lower case for the same",
        where=str(root),
        hint="files of an image would replace each other there: put the store elsewhere (--store, DIB_CTR_STORE)",
    )


class DiskWatch:
    """Looks at the disk of ``root`` while it is started, and remembers the least room there was since a mark."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lowest: Room | None = None
        self._ever: Room | None = None
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Look from now on, in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="disk watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._end.set()

    def _run(self) -> None:
        while not self._end.wait(self._look()):
            pass

    def _look(self) -> float:
        """Look once; the seconds in which nobody can use up what is left."""
        try:
            room = look(self._root)
        except OSError:
            return _LONGEST
        if room.is_full:
            self._lowest = self._ever = room
        until_full = min(room.spare / _FASTEST, room.spare_inodes / _FASTEST_INODES)
        return min(max(until_full, _SHORTEST), _LONGEST)

    def mark(self) -> None:
        """Forget what was before: something new begins."""
        self._lowest = None

    def full(self, *, ever: bool = False, during: str = "") -> BuildError | None:
        """The error, where the disk is full now or was since the mark (``ever``: since the start)."""
        self._look()
        lowest = self._ever if ever else self._lowest
        return disk_full(self._root, lowest, during) if lowest is not None else None
