"""The holes of sparse files: where a file has data, and the parts of it that are zeros, whoever keeps it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

PIECE = 1 << 20  # bytes
ZEROS = bytes(PIECE)
HOLE = 64 << 10  # bytes: zeros in this measure stay unwritten
_GLANCE = 1 << 12  # bytes that tell of most pieces that they are no zeros


def data_ranges(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """Where a file of ``size`` bytes has data, as (begin, end); all of it where the file system knows of no holes."""
    at = 0
    while at < size:
        try:
            begin = os.lseek(descriptor, at, os.SEEK_DATA)
            end = os.lseek(descriptor, begin, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole from here on
                return
            begin, end = at, size
        if begin >= size:
            return
        yield begin, min(end, size)
        at = end


def pieces(descriptor: int, size: int) -> Iterator[bytes]:
    """The content of a file in pieces, zeros for its holes; fewer bytes than ``size`` where it has become shorter."""
    at = 0
    for begin, end in data_ranges(descriptor, size):
        yield from _zeros(begin - at)
        at = begin
        while at < end:
            piece = os.pread(descriptor, min(PIECE, end - at), at)
            if not piece:
                return
            yield piece
            at += len(piece)
    if os.fstat(descriptor).st_size >= size:
        yield from _zeros(size - at)


def write_data(descriptor: int, data: bytes, at: int) -> int:
    """Write what is no zeros of ``data`` at its place in a new file; returns how many bytes that were. Raises OSError.

    The file is as long as it shall be only once it is truncated to that.
    """
    written = 0
    for start in range(0, len(data), HOLE):
        part = data[start : start + HOLE]
        if part != ZEROS[: len(part)]:
            written += len(part)
            offset = at + start
            while part:
                length = os.pwrite(descriptor, part, offset)
                part, offset = part[length:], offset + length
    return written


def _zeros(count: int) -> Iterator[bytes]:
    while count > 0:
        yield ZEROS[: min(count, PIECE)]
        count -= PIECE


def extents(descriptor: int, size: int) -> list[tuple[int, int]]:
    """The parts of a file that are no zeros, as (begin, length), in whole pieces; the same on every file system.

    What counts is the content: a file system may keep zeros, or have holes of other sizes.
    """
    ranges: list[tuple[int, int]] = []
    for at in _places(descriptor, size):
        length = min(PIECE, size - at)
        if _is_zeros(descriptor, at, length):
            continue
        if ranges and sum(ranges[-1]) == at:
            ranges[-1] = ranges[-1][0], ranges[-1][1] + length
        else:
            ranges.append((at, length))
    return ranges


def _places(descriptor: int, size: int) -> Iterator[int]:
    """Where the pieces begin that are no holes altogether."""
    last = -1
    for begin, end in data_ranges(descriptor, size):
        for number in range(max(begin // PIECE, last + 1), (end - 1) // PIECE + 1):
            yield number * PIECE
            last = number


def _is_zeros(descriptor: int, at: int, length: int) -> bool:
    if os.pread(descriptor, min(_GLANCE, length), at).strip(b"\0"):
        return False
    return os.pread(descriptor, length, at) == ZEROS[:length]
