"""Folders of the store on their way to this machine, as tar streams or as they lie there: untrusted, and read strictly.

Only folders, plain files and further names of them come through, and links where they are asked for, whose targets the
caller has to look at. Everything else (devices, pipes, paths that leave the folder) ends the build.
"""

from __future__ import annotations

import fcntl
import io
import os
import tarfile
from collections.abc import Generator, Iterable
from contextlib import suppress
from pathlib import Path

from blockdev.core.beneath import Beneath, parts_of
from blockdev.core.errors import BuildError
from blockdev.core.holes import PIECE, ZEROS, data_ranges
from builder.inspection.limits import LARGEST_HEADER
from builder.inspection.strict_tar import HEADERS

MOST_ENTRIES = 100_000
DEEPEST = 64  # folders in one another
_FICLONE = 0x40049409
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def shown(name: str) -> str:
    """A name for a message: what is no letter, digit or sign is written as an escape."""
    return name if name.isprintable() else ascii(name)[1:-1]


def refused(what: str, name: str) -> BuildError:
    """The error for something that no output consists of."""
    return BuildError(
        f"what came from the build container is refused: {what}",
        where=shown(name),
        hint="an element of this image makes it so; nothing was written to your folders",
    )


class _Pieces(io.RawIOBase):
    """A stream of pieces as a file."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        super().__init__()
        self._pieces = iter(pieces)
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """So many bytes, fewer at the end only."""
        data = bytearray()
        while len(data) < size:
            if not self._left:
                piece = next(self._pieces, None)
                if piece is None:
                    break
                self._left = memoryview(piece)
                continue
            taken = self._left[: size - len(data)]
            data += taken
            self._left = self._left[len(taken) :]
        return bytes(data)

    def drain(self) -> None:
        """Take what is left: at its end the stream says whether all went well."""
        for _ in self._pieces:
            pass


class _Member(tarfile.TarInfo):
    """A header; one whose records are too long to be read is an error, and so is one that is damaged."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Member:
        try:
            member = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # the archive's proper end, the only one
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error
        if member.type in HEADERS and member.size > LARGEST_HEADER:
            raise tarfile.ReadError("a header is too long")
        return member


class _Receiver:
    """Writes members below a folder that nobody else writes to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: set[tuple[str, ...]] = set()
        self.links: dict[tuple[str, ...], str] = {}
        self._folders: dict[Path, int] = {}
        self._seen: set[tuple[str, ...]] = set()

    def take(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        if member.isdir() and not member.name.strip("./"):
            return
        try:
            parts = parts_of(member.name)
        except ValueError as error:
            raise refused("a path that leads out of its folder", member.name) from error
        if len(parts) > DEEPEST or len(self._seen) >= MOST_ENTRIES:
            raise refused("it has too many files, or too many folders in one another", member.name)
        if parts in self._seen:
            raise refused("it has one file twice", member.name)
        self._seen.add(parts)
        path = self.folder.joinpath(*parts)
        if member.isdir():
            path.mkdir(mode=0o777)
            self._folders[path] = _time(member)
        elif member.isreg():
            self.files.add(parts)
            _write(archive, member, path)
        elif member.islnk():
            self._name_again(member, path)
            self.files.add(parts)
        elif member.issym():
            self.links[parts] = member.linkname
        else:
            raise refused("it is neither a file nor a folder", member.name)

    def _name_again(self, member: tarfile.TarInfo, path: Path) -> None:
        with suppress(ValueError):
            parts = parts_of(member.linkname)
            if parts in self.files:
                os.link(self.folder.joinpath(*parts), path, follow_symlinks=False)
                return
        raise refused(f"it is a hard link to {shown(member.linkname)}, which is none of its files", member.name)

    def finish(self) -> None:
        for path, time in reversed(self._folders.items()):
            os.utime(path, ns=(time, time))


def _time(member: tarfile.TarInfo) -> int:
    """A member's time in nanoseconds since 1970, within what file systems know."""
    return max(0, min(int(member.mtime * 1_000_000) * 1000, (1 << 62)))


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    data = archive.fileobj
    assert data is not None
    descriptor = os.open(path, _NEW, member.mode & 0o777 | 0o200)
    try:
        os.ftruncate(descriptor, member.size)
        sparse = getattr(member, "sparse", None)
        data.seek(member.offset_data)
        for at, length in sparse if sparse is not None else [(0, member.size)]:
            if at < 0 or length < 0 or at + length > member.size:
                raise refused("its holes are out of place", member.name)
            _fill(data, descriptor, at, length, member.name)
        os.utime(descriptor, ns=(_time(member),) * 2)
    finally:
        os.close(descriptor)


def _fill(data: object, descriptor: int, at: int, length: int, name: str) -> None:
    while length:
        piece = data.read(min(length, PIECE))  # type: ignore[attr-defined]
        if not piece:
            what = f"an output cannot be written: {shown(name)} broke off on its way from the build container"
            raise BuildError(what, hint="run it again")
        if piece != ZEROS:  # a hole is there already
            _all(descriptor, piece, at)
        at, length = at + len(piece), length - len(piece)


def _all(descriptor: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, at)
        view, at = view[count:], at + count


def receive(stream: Iterable[bytes], folder: Path) -> dict[str, str]:
    """Write a tar stream's files below ``folder``, which is made; the targets of the links in it, which are not made.

    Pieces of zeros become holes. Files belong to the caller, without set-uid bits. Raises BuildError for what is
    refused, OSError where writing fails.
    """
    folder.mkdir(exist_ok=True)
    pieces = _Pieces(stream)
    receiver = _Receiver(folder)
    try:
        with tarfile.open(fileobj=pieces, mode="r|", tarinfo=_Member, bufsize=PIECE) as archive:
            while (member := archive.next()) is not None:
                receiver.take(archive, member)
        pieces.drain()
    except (tarfile.TarError, ValueError, OverflowError, LookupError) as error:
        pieces.drain()  # the engine may say why
        raise BuildError(
            f"an output cannot be written: it came damaged from the build container ({error})", hint="run it again"
        ) from error
    finally:
        if isinstance(stream, Generator):
            stream.close()
    receiver.finish()
    return {"/".join(parts): target for parts, target in receiver.links.items()}


def copy(source: Path, folder: Path) -> None:
    """Copy the files of a folder of the store, sparse, sharing blocks where the disk can. OSError where that fails."""
    folder.mkdir(exist_ok=True)
    with Beneath.opened(source.parent.parent) as store:
        last_parts = source.parts[-2:]
        with store.folder(last_parts) as held:
            names = sorted(os.listdir(held))  # noqa: PTH208 (of a descriptor)
        for name in names:
            with store.file((*last_parts, name)) as file:
                _copy(file, folder / name)


def _copy(source: int, target: Path) -> None:
    status = os.fstat(source)
    descriptor = os.open(target, _NEW, status.st_mode & 0o777 | 0o200)
    try:
        try:
            fcntl.ioctl(descriptor, _FICLONE, source)
        except OSError:
            os.ftruncate(descriptor, status.st_size)
            for at, end in data_ranges(source, status.st_size):
                _copy_range(source, descriptor, at, end)
        os.utime(descriptor, ns=(status.st_mtime_ns, status.st_mtime_ns))
    finally:
        os.close(descriptor)


def _copy_range(source: int, target: int, at: int, end: int) -> None:
    while at < end:
        piece = os.pread(source, min(PIECE, end - at), at)
        if not piece:
            return
        _all(target, piece, at)
        at += len(piece)
