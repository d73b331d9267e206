"""A raw image as it is (sparse), or in zstd, xz or gzip: in parallel, the same bytes on every number of processors."""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from blockdev.convert.checksums import CHUNK, Checksums
from blockdev.convert.qemu_img import environment, program
from blockdev.core.errors import BuildError
from blockdev.core.holes import write_data
from blockdev.core.tools import FailedError, output_of

_WINDOW = 32 << 10  # RFC 1951: how far back a match may lie
# RFC 1952, section 2.3: deflate, no name, no time, of unknown origin.
_GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
_PACKAGES = {"zstd": "zstd", "xz": "xz-utils"}


def copy_sparse(raw: Path, target: Path, sums: Checksums) -> None:
    """Copy an image; what is zero becomes a hole, whether it was one or not."""
    with raw.open("rb") as source, target.open("wb", buffering=0) as out:
        length = 0
        while data := source.read(CHUNK):
            sums.update(data)
            write_data(out.fileno(), data, length)
            length += len(data)
        out.truncate(length)


def _write_all(write: Callable[[bytes], int | None], data: bytes) -> None:
    while data:
        data = data[write(data) or 0 :]


def write(raw: Path, target: Path, compression: str, level: int, threads: int, sums: Checksums) -> None:
    """Write ``raw`` compressed to the new file ``target``. Raises BuildError where a program is missing or fails,
    OSError where writing does."""
    parts = _gzip(raw, level, threads) if compression == "gzip" else _piped(raw, compression, level, threads)
    with target.open("wb", buffering=0) as out:
        for data in parts:
            sums.update(data)
            _write_all(out.write, data)


def _piped(raw: Path, compression: str, level: int, threads: int) -> Iterator[bytes]:
    """What zstd or xz make of it. Both cut their jobs by length alone, as long as there is more than one thread."""
    command = [program(compression, _PACKAGES[compression]), "-q", f"-T{max(2, threads)}", f"-{level}", "-c"]
    # zstd notes the length, and tools show it; a thread of xz never gives way to a limit on memory.
    command += [f"--stream-size={raw.stat().st_size}"] if compression == "zstd" else ["--no-adjust"]
    try:
        with raw.open("rb") as source, output_of(command, stdin=source, env=environment()) as stream:
            while data := stream.read(CHUNK):
                yield data
    except FailedError as error:
        raise BuildError(f"{compression} failed: {str(error) or 'it gave no reason'}", where=str(raw)) from error


def _gzip(raw: Path, level: int, threads: int) -> Iterator[bytes]:
    """One gzip member (RFC 1952) of blocks that threads compress apart, each knowing the last 32 KiB before it."""
    yield _GZIP_HEADER
    crc = length = 0
    before = b""
    running: deque[Future[bytes]] = deque()
    pool = ThreadPoolExecutor(max(1, threads))
    try:
        with raw.open("rb") as source:
            while data := source.read(CHUNK):
                running.append(pool.submit(_deflate, data, before, level))
                crc, length, before = zlib.crc32(data, crc), length + len(data), data[-_WINDOW:]
                if len(running) > threads + 2:
                    yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
    yield b"\x03\0" + struct.pack("<II", crc, length & 0xFFFFFFFF)  # an empty last block, and the trailer


def _deflate(data: bytes, before: bytes, level: int) -> bytes:
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, before)
    return compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)
