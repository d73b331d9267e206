"""What comes out of a compressed blob, as a stream: gzip (RFC 1952), zstd (RFC 8878) or no compression at all."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tempfile
import threading
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing

from blockdev.core.errors import BuildError
from stages.repositories.decompress import ZSTD

PIECE = 1 << 18  # bytes
GZIP = b"\x1f\x8b"


def is_zstd(start: bytes) -> bool:
    """Do these bytes begin a frame of zstd, or one that it passes over (RFC 8878, section 3.1.2)."""
    return start[:4] == ZSTD or (start[1:4] == b"\x2a\x4d\x18" and start[:1] in [bytes([0x50 + n]) for n in range(16)])


def unpacked(pieces: Iterator[bytes], where: str) -> Generator[bytes]:
    """The pieces of what was compressed. Its first bytes tell how: media types are not always right about it.

    Reads ``pieces`` to their end even where the compressed data end earlier or are broken, so that what checks their
    digest has its say first; then raises BuildError naming ``where`` for data that are broken all the same.
    """
    first = next(pieces, b"")
    whole = _chained(first, pieces)
    if first[:2] == GZIP:
        yield from _gunzip(whole, where)
    elif is_zstd(first):
        yield from _unzstd(whole, where)
    else:
        yield from whole


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _exhaust(pieces: Iterable[bytes]) -> None:
    for _ in pieces:
        pass


def _gunzip(pieces: Iterator[bytes], where: str) -> Iterator[bytes]:
    """All members of a gzip file, one after the other; zeros may follow the last one."""
    member, begun = zlib.decompressobj(wbits=31), False
    for piece in pieces:
        data = piece
        while data:
            if not begun:
                data = data.lstrip(b"\0")  # padding
                begun = bool(data)
                continue
            try:
                out = member.decompress(data, PIECE)
            except zlib.error as error:
                _exhaust(pieces)
                raise BuildError(f"the gzip data of a layer are broken: {error}", where=where) from error
            if out:
                yield out
            data = member.unconsumed_tail
            if member.eof:
                data, member, begun = member.unused_data, zlib.decompressobj(wbits=31), False
    if begun:
        raise BuildError("the gzip data of a layer end in the middle", where=where)


def _unzstd(pieces: Iterator[bytes], where: str) -> Iterator[bytes]:
    program = shutil.which("zstd")
    if program is None:
        what = "a layer is compressed with zstd, and there is no program here that reads it"
        raise BuildError(what, where=where, hint="install zstd (the package has this name everywhere)")
    failed: list[BaseException] = []
    with (
        tempfile.TemporaryFile() as messages,
        subprocess.Popen([program, "-dcq"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=messages) as process,
    ):
        feeder = threading.Thread(target=_feed, args=(pieces, process, failed), daemon=True)
        feeder.start()
        try:
            assert process.stdout is not None
            while piece := process.stdout.read(PIECE):
                yield piece
        except BaseException:  # who reads has had enough, or was interrupted: the feeder must not wait for zstd
            process.kill()
            raise
        finally:
            feeder.join()
        messages.seek(0)
        complaint = messages.read().decode(errors="replace").strip()
    if failed:
        raise failed[0]
    if process.returncode:
        raise BuildError(f"the zstd data of a layer are broken: {complaint or process.returncode}", where=where)


def _feed(pieces: Iterator[bytes], process: subprocess.Popen[bytes], failed: list[BaseException]) -> None:
    """Give zstd its input; what goes wrong with reading is kept for the other thread."""
    assert process.stdin is not None
    try:
        try:
            with process.stdin:
                for piece in pieces:
                    process.stdin.write(piece)
        except BrokenPipeError:  # zstd has given up; the digest may tell why
            _exhaust(pieces)
    except BaseException as error:  # noqa: BLE001
        failed.append(error)


class Forward(io.RawIOBase):
    """A stream of pieces as a file that can be skipped forward; it knows what came by.

    ``digest`` is that of all bytes so far (sha256), ``bytes`` how many they are.
    """

    def __init__(self, pieces: Generator[bytes]) -> None:
        super().__init__()
        self._pieces = pieces
        self._left = memoryview(b"")
        self.digest = hashlib.sha256()
        self.bytes = 0

    def _next(self) -> bool:
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self.digest.update(piece)
            self._left = memoryview(piece)
            self.bytes += len(piece)
        return True

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """Forward only."""
        return True

    def tell(self) -> int:
        """How many bytes were taken."""
        return self.bytes - len(self._left)

    def readinto(self, buffer: object) -> int:
        """Fill the buffer as far as one piece goes."""
        view = memoryview(buffer)  # type: ignore[arg-type]
        if not self._next():
            return 0
        count = min(len(view), len(self._left))
        view[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Skip forward, to the end at most."""
        if whence == io.SEEK_CUR:
            offset += self.tell()
        while self.tell() < offset and self._next():
            self._left = self._left[min(len(self._left), offset - self.tell()) :]
        return self.tell()

    def close(self) -> None:
        """Stop whatever the pieces come from."""
        if not self.closed:
            with closing(self._pieces):
                super().close()

    def drain(self) -> None:
        """Read what is left."""
        self._left = memoryview(b"")
        while self._next():
            self._left = memoryview(b"")
