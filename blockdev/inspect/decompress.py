"""Raw images in zstd, gzip or xz: unpacked to sparse files."""

from __future__ import annotations

import contextlib
import errno
import gzip
import lzma
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from blockdev.convert.qemu_img import environment, program
from blockdev.core.errors import BuildError
from blockdev.core.holes import write_data
from blockdev.core.tools import FailedError, output_of

SUFFIXES = {"zstd": ".zst", "gzip": ".gz", "xz": ".xz"}
_CHUNK = 1 << 20
_LEFT = 256 << 20  # bytes that are left free on the disk, whatever a small file unpacks to


def least_size(path: Path) -> int:
    """Bytes that the unpacked image takes at least."""
    return path.stat().st_size


def unpack(path: Path, name: str, raw: Path, shown: Path) -> None:
    """Write what a packed image holds to a new, sparse file. BuildError where it is damaged, or the disk is full."""
    try:
        with _stream(path, name) as stream, raw.open("xb", buffering=0) as out:
            _copy(stream, out, raw.parent, shown)
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
        raise BuildError(f"the image is damaged: {error}", where=str(shown), hint="fetch or build it again") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _full(raw.parent, shown) from error
        raise BuildError(f"the image cannot be unpacked: {error.strerror}", where=str(shown)) from error


@contextlib.contextmanager
def _stream(path: Path, name: str) -> Iterator[BinaryIO]:
    if name == "zstd":
        with _zstd(path) as stream:
            yield stream
    elif name == "gzip":
        with gzip.open(path, "rb") as packed:
            yield cast("BinaryIO", packed)
    else:
        with lzma.open(path, "rb") as packed_xz:
            yield cast("BinaryIO", packed_xz)


@contextlib.contextmanager
def _zstd(path: Path) -> Iterator[BinaryIO]:
    command = [program("zstd", "zstd"), "-d", "-q", "-c", "--long=31"]
    try:
        with path.open("rb") as source, output_of(command, stdin=source, env=environment()) as stream:
            yield stream
    except FailedError as error:
        raise EOFError(str(error).rpartition(" : ")[2] or "zstd gives no reason") from error


def _copy(stream: BinaryIO, out: BinaryIO, folder: Path, shown: Path) -> None:
    length = written = 0
    while data := stream.read(_CHUNK):
        written += write_data(out.fileno(), data, length)
        length += len(data)
        if written > _LEFT >> 2:  # look again after each such piece
            written = 0
            if shutil.disk_usage(folder).free < _LEFT:
                raise _full(folder, shown)
    out.truncate(length)


def _full(folder: Path, shown: Path) -> BuildError:
    return BuildError(
        "there is no room to unpack the image",
        where=f"{shown}, unpacked in {folder.parent}",
        hint="name a folder with more room: TMPDIR=/folder",
    )
