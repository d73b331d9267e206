"""Locks that end with their holder, in files that go with them: a lock that nobody holds leaves nothing behind.

A file is unlinked while its lock is held. So whoever waited for it, or opened it just before, has the lock of a file
that is nowhere any more, sees that, and begins again.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path


def take(path: Path, *, wait: bool = True, mode: int = 0o600) -> int | None:
    """A descriptor that holds the lock of a file (made where it is missing, with that mode).

    None: somebody has it, and ``wait`` is False.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, mode)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if _is(handle, path):
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def give_up(path: Path, handle: int) -> None:
    """Let the lock go, and its file with it."""
    path.unlink(missing_ok=True)
    os.close(handle)


def is_held(path: Path) -> bool:
    """Does somebody hold the lock of this file right now."""
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(handle)


def sweep(path: Path) -> bool:
    """Remove a lock's file if nobody holds it; tells whether it is gone."""
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is(handle, path):
            path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def _is(handle: int, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), path.stat())
    return False
