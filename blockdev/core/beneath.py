"""Paths below a folder that cannot leave it: each part is opened from the folder above it, and no link is followed.

Who holds a folder so writes into that very folder, whatever is renamed or linked on the way to it meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def parts_of(path: str) -> tuple[str, ...]:
    """The names that a relative path consists of; ValueError for one that is absolute, empty or goes up."""
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    if path.startswith("/") or not parts or ".." in parts or "\0" in path:
        raise ValueError(path)
    return parts


class Beneath:
    """A folder, held by its descriptor; ``path`` is how the user named it."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    @contextlib.contextmanager
    def opened(cls, path: Path) -> Iterator[Beneath]:
        """Hold a folder while the context lasts. The way to it may lead over links: it is the user's own."""
        descriptor = os.open(path, _FOLDER)
        try:
            yield cls(path, descriptor)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def folder(self, parts: Sequence[str], *, make: bool = False) -> Iterator[int]:
        """The descriptor of a folder below, made where it is missing and ``make`` says so.

        Raises NotADirectoryError, with the path of the part, where one of the parts is a link or a file.
        """
        at = os.dup(self._descriptor)
        try:
            for number, part in enumerate(parts):
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, dir_fd=at)
                above = at
                try:
                    at = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=above)
                except OSError as error:
                    path = str(self.path.joinpath(*parts[: number + 1]))
                    raise type(error)(error.errno, error.strerror, path) from error
                finally:
                    if at != above:
                        os.close(above)
            yield at
        finally:
            os.close(at)

    def lstat(self, parts: Sequence[str]) -> os.stat_result | None:
        """What lies at a path below; None where nothing does. Raises as :meth:`folder`."""
        try:
            with self.folder(parts[:-1]) as above:
                return os.stat(parts[-1], dir_fd=above, follow_symlinks=False)
        except FileNotFoundError:
            return None

    @contextlib.contextmanager
    def file(self, parts: Sequence[str]) -> Iterator[int]:
        """The descriptor of a plain file below, to read; OSError for anything else, at once."""
        with self.folder(parts[:-1]) as above:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(parts[-1], flags, dir_fd=above)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(0, "it is no plain file", str(self.path.joinpath(*parts)))
            yield descriptor
        finally:
            os.close(descriptor)
