"""A layer as compressed blocks: made in parallel, each of them kept, and the same bytes on every machine.

The archive is cut where a member begins, by the members' names and sizes alone, so that one changed file changes one or
two blocks and not all that follow. Each block becomes one gzip member (RFC 1952, section 2.2: a file is a series of
members) and is found again by its content: an image that differs from the last one in one script costs the compression
of that one block. Nothing depends on the number of processors.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from stages.protocol import events
from stages.protocol.emit import emit

MIN, MAX = 512 << 10, 2 << 20  # bytes of a block, but for the last one
_CUT = 8  # a member with one name in so many ends a block that is long enough
_DIGEST = 32
# What zlib (1.2.13, 1.3.1) makes of a known text; one that makes anything else gives digests of its own.
_KNOWN = "fdcaed6e7da81dd28ea9a29e565bd2da"


@dataclass(frozen=True)
class Blob:
    """A written layer: digests (``sha256:...``) of the blob and of the archive in it, the blob's length in bytes."""

    digest: str
    diff_id: str
    bytes: int


def compressed(data: bytes, level: int) -> bytes:
    """One gzip member without name and date."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, 31, 9)
    return compressor.compress(data) + compressor.flush()


def probe() -> bool:
    """Does this machine's zlib make of a fixed text what others make of it: then it writes the same layers."""
    words = b" ".join(b"%x" % (number * number * 2654435761 % 4294967291) for number in range(20_000))
    return hashlib.sha256(compressed(words, 6)).hexdigest().startswith(_KNOWN)


def is_whole(path: Path) -> bool:
    """Is a kept block still what was written."""
    try:
        data = path.read_bytes()
    except OSError:
        return False
    return hashlib.sha256(data[_DIGEST:]).digest() == data[:_DIGEST]


class BlockCache:
    """Compressed blocks by the SHA-256 of their content, as files that tell when they are no longer whole."""

    def __init__(self, folder: Path, level: int) -> None:
        self.level = level
        self._folder = folder / f"gzip-{level}-{zlib.ZLIB_RUNTIME_VERSION}"
        self._folder.mkdir(parents=True, exist_ok=True)

    def get(self, key: str) -> bytes | None:
        """The compressed block, or None where it is not there or no longer whole (then it is made again)."""
        path = self._folder / key
        try:
            data = path.read_bytes()
        except OSError:
            return None
        if hashlib.sha256(data[_DIGEST:]).digest() != data[:_DIGEST]:
            emit(events.Note(text="a compressed block of the store differs: it is made again, the disk may be failing"))
            return None
        with suppress(OSError):
            os.utime(path)  # the last use, for prune
        return data[_DIGEST:]

    def put(self, key: str, block: bytes) -> None:
        """Keep a block; a full disk is no reason to fail here."""
        with suppress(OSError):
            # Without a name until it is whole: a writer that is killed leaves nothing.
            handle = os.open(self._folder, os.O_TMPFILE | os.O_WRONLY, 0o644)
            try:
                with open(handle, "wb", closefd=False) as out:
                    out.write(hashlib.sha256(block).digest() + block)
                (self._folder / key).unlink(missing_ok=True)  # no longer whole, or another build was first
                # (Links are followed only where a folder is given, which such a path has no use for.)
                os.link(f"/proc/self/fd/{handle}", self._folder / key, src_dir_fd=handle, follow_symlinks=True)
            finally:
                os.close(handle)


class BlockWriter:
    """Takes an archive (see :class:`stages.outputs.formats.tar_stream.BlockSink`) and writes its blob to ``out``."""

    def __init__(self, out: BinaryIO, level: int, cache: BlockCache | None) -> None:
        self._out, self._level, self._cache = out, level, cache
        self._pending: list[bytes] = []
        self._length = 0
        cores = len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(cores)
        self._most = cores + 2
        self._running: deque[Future[bytes]] = deque()
        self._writer = ThreadPoolExecutor(1)
        self._written: list[Future[None]] = []
        self._plain, self._packed = hashlib.sha256(), hashlib.sha256()
        self._bytes = 0

    def member(self, name: bytes, size: int) -> None:
        """Cut before this member where its name says so; a big file begins a block of its own."""
        if size >= MAX or (self._length >= MIN and zlib.crc32(name) % _CUT == 0) or self._length + size > MAX:
            self._cut()

    def write(self, data: bytes) -> None:
        """Take the archive's next bytes."""
        view = memoryview(data)
        while self._length + len(view) >= MAX:
            room = MAX - self._length
            self._pending.append(bytes(view[:room]))
            self._length = MAX
            self._cut()
            view = view[room:]
        if len(view):
            self._pending.append(bytes(view))
            self._length += len(view)

    def _cut(self) -> None:
        if not self._length:
            return
        block = b"".join(self._pending)
        self._pending, self._length = [], 0
        while len(self._running) >= self._most:
            self._running.popleft().result()
        packed = self._pool.submit(self._pack, block)
        self._running.append(packed)
        while self._written and self._written[0].done():
            self._written.pop(0).result()  # a failure to write ends the work here
        self._written.append(self._writer.submit(self._put, block, packed))

    def _pack(self, block: bytes) -> bytes:
        if self._cache is None:
            return compressed(block, self._level)
        key = hashlib.sha256(block).hexdigest()
        packed = self._cache.get(key)
        if packed is None:
            packed = compressed(block, self._level)
            self._cache.put(key, packed)
        return packed

    def _put(self, block: bytes, packed: Future[bytes]) -> None:
        data = packed.result()
        self._plain.update(block)
        self._packed.update(data)
        self._out.write(data)
        self._bytes += len(data)

    def close(self) -> Blob:
        """Write what is left; the blob. Raises what went wrong on the way (OSError on a full disk)."""
        try:
            self._cut()
            for written in self._written:
                written.result()
            self._out.flush()
        finally:
            self.abandon()
        return Blob(f"sha256:{self._packed.hexdigest()}", f"sha256:{self._plain.hexdigest()}", self._bytes)

    def abandon(self) -> None:
        """End the threads; what is written so far is of no use."""
        self._writer.shutdown(cancel_futures=True)
        self._pool.shutdown(cancel_futures=True)


def write_blocks(target: Path, level: int, cache: BlockCache | None, write: Callable[[BlockWriter], object]) -> Blob:
    """Have ``write`` write an archive into a :class:`BlockWriter` on the new file ``target``."""
    with target.open("wb", buffering=1 << 20) as out:
        writer = BlockWriter(out, level, cache)
        try:
            write(writer)
            return writer.close()
        except BaseException:
            writer.abandon()
            raise
