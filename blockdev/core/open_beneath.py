"""Opening a file or a folder below a folder without following a link anywhere on the way."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path, PurePath


def open_beneath(root: Path, path: str | PurePath) -> int:
    """A descriptor, to read from, of the regular file ``path`` below the folder ``root`` (which may be a link itself).

    Raises OSError where a component is a link or goes up, and where the file is no regular one; never waits.
    """
    parts = PurePath(path).parts
    if not parts or PurePath(path).is_absolute() or ".." in parts:
        raise OSError(f"{path} does not lie below {root}")
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            below = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = below
        # (Not blocking: opening a pipe would wait for somebody who writes.)
        handle = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(f"{path} is not a regular file")
    return handle


def open_folder(root: Path, path: str | PurePath, *, make: bool = False) -> int:
    """A descriptor (O_PATH) of the folder ``path`` below the folder ``root`` (which may be a link itself).

    ``make``: make what of it is not there. Raises OSError where a component is a link, no folder, or goes up.
    """
    parts = PurePath(path).parts
    if PurePath(path).is_absolute() or ".." in parts:
        raise OSError(f"{path} does not lie below {root}")
    folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in parts:
        try:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=folder)
            below = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        finally:
            os.close(folder)
        folder = below
    return folder
