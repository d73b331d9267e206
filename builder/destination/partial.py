"""Hidden folders beside a target, in which things become whole; what a killed build left of them goes.

Each is locked (flock) by the process that works in it, for as long as it lives. The next build with the same
destination removes those that nobody holds.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from builder.destination.space import ELSEWHERE, explained

MARK = ".dib-ctr"  # a file in each: a folder without it is nobody's but the user's
REPLACED = "replaced"  # a folder in it: what stood at a target, while that cannot be exchanged in one step
_NAME = re.compile(r"\..+\.partial-[0-9a-f]{8}\Z")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(folder: Path) -> None:
    """Remove a folder with all in it, also folders in it that their owner may not write to (images have such)."""
    for directory, folders, _ in os.walk(folder):
        for name in folders:
            if not Path(directory, name).is_symlink():
                with contextlib.suppress(OSError):
                    Path(directory, name).chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _locked(folder: Path, how: int) -> int:
    """A descriptor of the folder with a lock on it, -1 where the file system has no locks; OSError as flock."""
    descriptor = os.open(folder, _FOLDER)
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:
        os.close(descriptor)
        return -1
    return descriptor


def _new_folder(target: Path) -> tuple[Path, int]:
    """A new folder with its lock. One that another build swept away before it was locked is made again."""
    while True:
        folder = target.with_name(f".{target.name}.partial-{secrets.token_hex(4)}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
        try:
            lock = _locked(folder, fcntl.LOCK_EX)
            (folder / MARK).touch()
        except FileNotFoundError:
            continue
        return folder, lock


@contextlib.contextmanager
def partial(target: Path, elsewhere: str = ELSEWHERE) -> Iterator[Path]:
    """A hidden folder beside ``target``, closed to others and removed in the end whatever happens.

    An OSError on the way becomes a BuildError that says why ``target`` cannot be written, and, with ``elsewhere``, how
    to have it on another disk.
    """
    folder, lock = None, -1
    try:
        folder, lock = _new_folder(target)
        yield folder
    except OSError as error:
        raise explained(error, target, elsewhere) from error
    finally:
        try:
            if folder:
                _clear(folder)
        finally:
            if lock >= 0:
                os.close(lock)


def _clear(folder: Path) -> None:
    """Remove a partial folder; what it holds of a target that never got its new content goes back there."""
    for old in (folder / REPLACED).iterdir() if (folder / REPLACED).is_dir() else ():
        if not os.path.lexists(folder.with_name(old.name)):
            with contextlib.suppress(OSError):
                old.rename(folder.with_name(old.name))
    with contextlib.suppress(OSError):  # the mark goes last: where this is cut short it says whose the rest is
        for entry in list(os.scandir(folder)):
            if entry.is_dir(follow_symlinks=False):
                remove(Path(entry.path))
            elif entry.name != MARK:
                Path(entry.path).unlink()
    remove(folder)


def sweep(folder: Path) -> None:
    """Remove what killed builds left in a folder: partial folders of this user whose lock nobody holds."""
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(folder)):
            if _NAME.match(entry.name) and entry.is_dir(follow_symlinks=False):
                _sweep(Path(entry.path))


def _sweep(folder: Path) -> None:
    try:
        status = folder.lstat()
        if status.st_uid != os.geteuid():
            return
        lock = _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return  # somebody works there, or it has gone
    if lock < 0:
        return
    try:
        if (folder / MARK).exists():
            _clear(folder)
        else:
            with contextlib.suppress(OSError):
                folder.rmdir()  # killed in its first instant
    finally:
        os.close(lock)
