"""Compressed files as the pieces of what they hold; what compressed them is told by their first bytes."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from blockdev.core.tools import FailedError, output_of

CHUNK = 1 << 20  # bytes
LARGEST = 4 << 30  # bytes: no list of packages is as large
ZSTD = b"\x28\xb5\x2f\xfd"


class Readable(Protocol):
    """What can be read in pieces."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, none at the end."""


@contextmanager
def unpacked(file: Path) -> Iterator[Iterator[bytes]]:
    """The pieces of what a file holds, unpacked; raises OSError, EOFError, lzma.LZMAError or ValueError (too large)."""
    with file.open("rb") as raw:
        start = raw.read(6)
        raw.seek(0)
        if start.startswith(ZSTD):
            with _zstd(raw) as pieces:
                yield pieces
        elif start.startswith(b"\x1f\x8b"):
            with gzip.open(raw) as opened:
                yield _pieces(opened)
        elif start.startswith(b"\xfd7zXZ\0"):
            with lzma.open(raw) as xz:
                yield _pieces(xz)
        elif start.startswith(b"BZh"):
            with bz2.open(raw) as bz:
                yield _pieces(bz)
        else:
            yield _pieces(raw)


@contextmanager
def _zstd(raw: BinaryIO) -> Iterator[Iterator[bytes]]:
    os.lseek(raw.fileno(), 0, os.SEEK_SET)  # the process has the place of the descriptor, not that of the buffer
    try:
        with output_of(["zstd", "-q", "-d", "-c"], stdin=raw) as stream:
            pieces = _pieces(stream)
            yield pieces
            for _ in pieces:  # nobody wanted the rest
                pass
    except FailedError as error:
        raise OSError("zstd cannot unpack it") from error


def _pieces(opened: Readable) -> Iterator[bytes]:
    length = 0
    while piece := opened.read(CHUNK):
        length += len(piece)
        if length > LARGEST:
            raise ValueError("it is too large")
        yield piece
