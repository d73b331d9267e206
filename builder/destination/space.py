"""What an error of the operating system means for a place where something is written, in one sentence."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from blockdev.core.errors import BuildError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_MIB = 1 << 20
ELSEWHERE = "name another place: --dest DIR"
CACHE_ELSEWHERE = "have the cache elsewhere: XDG_CACHE_HOME=DIR"


def _existing(path: Path) -> Path:
    return next((each for each in (path, *path.parents) if each.exists()), Path("/"))


def room(path: Path) -> tuple[int, int, int]:
    """Free and all bytes of the disk that ``path`` is (or would be) on, and its free inodes (-1: it has no count)."""
    status = os.statvfs(_existing(path))
    inodes = status.f_favail if status.f_files else -1
    return status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize, inodes


def is_full(path: Path) -> bool:
    """Is there no room to speak of: programs that met a full disk do not always say so."""
    try:
        free, size, inodes = room(path)
    except OSError:
        return False
    return free < min(size // 100, _MIB) or inodes == 0


def full(target: Path, number: int = errno.ENOSPC, elsewhere: str = ELSEWHERE) -> BuildError:
    """The error for a disk without room for what is to be written at ``target``."""
    folder = _existing(target.parent)
    if number == errno.EDQUOT:
        return BuildError(f"{target} cannot be written: your quota on that disk is used up", hint=elsewhere)
    try:
        free, size, inodes = room(folder)
    except OSError:
        free, size, inodes = 0, 0, -1
    left = "no inode is left" if inodes == 0 else f"{free // _MIB} of {size // _MIB} MiB are free"
    return BuildError(
        f"{target} cannot be written: the disk of {folder} is full ({left})", hint=f"make room there, or {elsewhere}"
    )


def explained(error: OSError, target: Path, elsewhere: str = ELSEWHERE) -> BuildError:
    """What stopped writing ``target``, and what to do; ``elsewhere`` is how to have it on another disk."""
    if error.errno in _FULL:
        return full(target, error.errno, elsewhere)
    if error.errno == errno.EROFS:
        what = f"{target} cannot be written: that file system is read-only"
        return BuildError(what, hint=elsewhere)
    if error.errno in (errno.ENOENT, errno.ESTALE):
        what = f"{target} cannot be written: its folder has gone away meanwhile"
        return BuildError(what, where=str(error.filename or target.parent), hint="run the same command again")
    return BuildError(
        f"{target} cannot be written: {error.strerror or error}",
        where=str(error.filename or ""),
        hint=f"may you write there? If not, {elsewhere}",
    )
