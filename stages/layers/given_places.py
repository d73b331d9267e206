"""Files of the user's machine at places that outside stages keep (/tmp, /root): an empty file stands there for a mount.

That file, and the folders above it that were made for it, are no result of the stage.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from stages.sandbox.paths import KEPT_OUTSIDE

_GIT_FOLDERS = ("objects", "refs")  # see ``stages.sandbox.mounts``


@contextlib.contextmanager
def removed_afterwards(kept: Path, paths: Iterable[str]) -> Iterator[None]:
    """While a stage sees given files (absolute ``paths``); ``kept`` is the folder of what outside stages keep."""
    lacking = [path for path in _places(paths) if not _is_there(kept, path)]
    try:
        yield
    finally:
        for path in sorted(lacking, key=len, reverse=True):
            with contextlib.suppress(OSError):
                _remove_empty(kept, path)


def _places(paths: Iterable[str]) -> Iterator[str]:
    """What is made for given files: each file below a kept folder, and the folders above it."""
    for path in (Path(path.lstrip("/")) for path in paths):
        top = next((top for top in map(Path, KEPT_OUTSIDE) if path.is_relative_to(top)), None)
        if top is None:
            continue
        names = [path, *(folder for folder in path.parents if folder != top and folder.is_relative_to(top))]
        if path.name == "HEAD":
            names += [path.with_name(name) for name in _GIT_FOLDERS]
        yield from map(str, names)


@contextlib.contextmanager
def _above(kept: Path, path: str) -> Iterator[tuple[int, str]]:
    """The folder that a name is in, opened without following any link (scripts have made them), and the name."""
    *folders, name = path.split("/")
    with contextlib.ExitStack() as opened:
        handle = os.open(kept, os.O_PATH | os.O_DIRECTORY)
        opened.callback(os.close, handle)
        for folder in folders:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle)
            opened.callback(os.close, handle)
        yield handle, name


def _is_there(kept: Path, path: str) -> bool:
    try:
        with _above(kept, path) as (folder, name):
            os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return False
    return True


def _remove_empty(kept: Path, path: str) -> None:
    with _above(kept, path) as (folder, name):
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            os.rmdir(name, dir_fd=folder)
        elif stat.S_ISREG(status.st_mode) and not status.st_size:
            os.unlink(name, dir_fd=folder)
