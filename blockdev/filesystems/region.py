"""A range of bytes of an image file: is it blank, how much does it hold, and sparse copies into it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from blockdev.core.errors import BuildError

_CHUNK = 1 << 20
_BLANK = bytes(_CHUNK)


@dataclass(frozen=True)
class Region:
    """``length`` bytes of ``image`` from byte ``offset`` on."""

    image: Path
    offset: int
    length: int

    def __str__(self) -> str:
        return f"{self.image}, {self.length} bytes from byte {self.offset}"


def data(file: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The (first, last + 1) byte of each piece of the open file that is not a hole, within ``start`` to ``end``."""
    while start < end:
        try:
            start = os.lseek(file, start, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end
                return
            raise
        if start >= end:
            return
        stop = min(os.lseek(file, start, os.SEEK_HOLE), end)
        yield start, stop
        start = stop


def require_blank(region: Region) -> None:
    """Refuse a region that is not all zeros: no mkfs clears what it does not use, so old bytes would stay in the image.

    The image is made as long as the region needs.
    """
    file = os.open(region.image, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        end = region.offset + region.length
        if os.fstat(file).st_size < end:
            os.ftruncate(file, end)
        for start, stop in data(file, region.offset, end):
            for offset in range(start, stop, _CHUNK):
                piece = os.pread(file, min(_CHUNK, stop - offset), offset)
                if piece != _BLANK[: len(piece)]:
                    raise BuildError(
                        "the place of a file system is not blank",
                        where=str(region),
                        hint="write into a new, empty image",
                    )
    finally:
        os.close(file)


def holds(region: Region) -> int:
    """How many bytes of the region are not holes."""
    file = os.open(region.image, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return sum(stop - start for start, stop in data(file, region.offset, region.offset + region.length))
    finally:
        os.close(file)


def copy_in(source: Path, region: Region) -> None:
    """Copy a whole file, without its holes, to the begin of a region; shares the blocks where the host's disk can."""
    reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    writing = os.open(region.image, os.O_RDWR | os.O_CLOEXEC)
    try:
        for start, stop in data(reading, 0, os.fstat(reading).st_size):
            at = start
            while at < stop:
                at += _copy(reading, writing, at, region.offset + at, min(stop - at, _CHUNK << 4))
    finally:
        os.close(reading)
        os.close(writing)


def copy_out(region: Region, target: Path) -> None:
    """Copy a region, without its holes, to a new file."""
    reading = os.open(region.image, os.O_RDONLY | os.O_CLOEXEC)
    writing = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(writing, region.length)
        for start, stop in data(reading, region.offset, region.offset + region.length):
            at = start
            while at < stop:
                at += _copy(reading, writing, at, at - region.offset, min(stop - at, _CHUNK << 4))
    finally:
        os.close(reading)
        os.close(writing)


def copy_range(source: Region, target: Region) -> None:
    """Copy a range, without its holes, to another one of another file, which is as long and blank."""
    reading = os.open(source.image, os.O_RDONLY | os.O_CLOEXEC)
    writing = os.open(target.image, os.O_RDWR | os.O_CLOEXEC)
    shift = target.offset - source.offset
    try:
        for start, stop in data(reading, source.offset, source.offset + source.length):
            at = start
            while at < stop:
                at += _copy(reading, writing, at, at + shift, min(stop - at, _CHUNK << 4))
    finally:
        os.close(reading)
        os.close(writing)


def _copy(reading: int, writing: int, start: int, at: int, length: int) -> int:
    """Copy at most ``length`` bytes; returns how many."""
    try:
        return os.copy_file_range(reading, writing, length, start, at)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        return os.pwrite(writing, os.pread(reading, min(length, _CHUNK), start), at)
