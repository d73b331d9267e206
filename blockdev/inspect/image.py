"""Opening a disk image of any format as a raw one. The image itself is only read.

What is in the file decides about its format, not what it is called.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from blockdev.core.errors import BuildError, UsageError
from blockdev.inspect import decompress, qemu
from blockdev.inspect.bytes_view import File, View

LARGE = 4 << 30  # bytes to be unpacked of which a person is told
_MARKS = (
    (0, b"QFI\xfb", "qcow2"),
    (0, b"KDMV", "vmdk"),
    (0, b"# Disk DescriptorFile", "vmdk"),
    (0, b"COWD", "vmdk"),
    (0, b"vhdxfile", "vhdx"),
    (0, b"conectix", "vpc"),
    (64, b"\x7f\x10\xda\xbe", "vdi"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"\x1f\x8b\x08", "gzip"),
    (0, b"\xfd7zXZ\0", "xz"),
)
_NAMES = {"vpc": "vhd", "zstd": "raw.zst", "gzip": "raw.gz", "xz": "raw.xz"}
_ARCHIVES = ((257, b"ustar"), (0, b"PK\x03\x04"), (0, b"7z\xbc\xaf"), (0, b"!<arch>\n"))
_FOOTER = 512
_DEEPEST = 2  # a packed qcow2


@dataclass(frozen=True)
class Opened:
    """An image: its own format, its size as a disk, what it takes on the host's disk (bytes), and the raw disk."""

    format: str
    size: int
    allocated: int
    raw: Path
    view: View


def magic(start: bytes, end: bytes) -> str:
    """The format of a file by its first 1 KiB and last 512 bytes: qemu-img's name, zstd, gzip, xz, or raw."""
    for offset, mark, name in _MARKS:
        if start[offset : offset + len(mark)] == mark:
            return name
    return "vpc" if end[:8] == b"conectix" else "raw"  # a VHD of fixed size has its mark at the end alone


@contextlib.contextmanager
def opened(path: Path, say: Callable[[str], None]) -> Iterator[Opened]:
    """An image as a raw disk, for as long as the context lasts; ``say`` gets a sentence where it takes a while.

    Raises UsageError where there is no file, or it is no image; BuildError where it cannot be unpacked.
    """
    _require_file(path)
    allocated = path.stat().st_blocks * 512
    with contextlib.ExitStack() as stack:
        name, raw = _format(path), path
        own = _NAMES.get(name, name)
        for _ in range(_DEEPEST):
            if (kind := _format(raw)) != "raw":
                raw = stack.enter_context(_unpacked(raw, kind, path, say))
        if _format(raw) in decompress.SUFFIXES:
            raise UsageError("this is packed more than twice", where=str(path))
        descriptor = _open(raw)
        stack.callback(os.close, descriptor)
        size = os.fstat(descriptor).st_size
        view = View(File(descriptor), 0, size)
        _require_disk(view, path)
        yield Opened(own, size, allocated, raw, view)


def format_of(path: Path) -> str:
    """qemu-img's name of an image's format, zstd, gzip or xz; UsageError where there is no image."""
    _require_file(path)
    return _format(path)


def _require_file(path: Path) -> None:
    try:
        there, empty = path.is_file(), path.is_file() and not path.stat().st_size
    except (OSError, ValueError) as error:
        raise UsageError(f"the image cannot be looked at: {error}", where=str(path)) from error
    if path.is_dir():
        raise UsageError("this is a folder, not an image", where=str(path))
    if not there:
        raise UsageError(f"there is no image {path}" if not path.exists() else "this is no plain file", where=str(path))
    if empty:
        raise UsageError("the image is empty", where=str(path))


def _require_disk(view: View, path: Path) -> None:
    start = view.read(0, 512)
    if any(start[offset : offset + len(mark)] == mark for offset, mark in _ARCHIVES):
        raise UsageError("this is an archive, not a disk image", where=str(path))
    if view.size < 512:
        raise UsageError(f"this is no disk image: it has {view.size} bytes", where=str(path))


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"the image cannot be read: {error.strerror}", where=str(path)) from error


def _format(path: Path) -> str:
    descriptor = _open(path)
    try:
        size = os.fstat(descriptor).st_size
        return magic(os.pread(descriptor, 1024, 0), os.pread(descriptor, _FOOTER, max(0, size - _FOOTER)))
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _unpacked(path: Path, name: str, shown: Path, say: Callable[[str], None]) -> Iterator[Path]:
    """A sparse raw copy in a folder of its own, which goes with the context."""
    needed = decompress.least_size(path) if name in decompress.SUFFIXES else qemu.data_size(path, name, shown)
    with tempfile.TemporaryDirectory(prefix="dib-ctr-inspect-", dir=_roomy(needed, shown)) as folder:
        raw = Path(folder) / "disk.raw"
        if needed > LARGE:
            say(f"unpacking {shown.name}, at least {needed >> 30} GiB, in {folder}")
        if name in decompress.SUFFIXES:
            decompress.unpack(path, name, raw, shown)
        else:
            qemu.unpack(path, name, raw, shown)
        yield raw


def _roomy(needed: int, shown: Path) -> Path:
    """A temporary folder with room for so many bytes; BuildError where there is none."""
    tried = [Path(tempfile.gettempdir()), Path("/var/tmp"), shown.resolve().parent]
    for folder in tried:
        with contextlib.suppress(OSError):
            if os.access(folder, os.W_OK) and shutil.disk_usage(folder).free > needed + (needed >> 4):
                return folder
    raise BuildError(
        f"there is no room to unpack the image: {needed >> 20} MiB are needed",
        where=", ".join(str(folder) for folder in dict.fromkeys(tried)),
        hint="make room, or name a folder that has some: TMPDIR=/folder",
    )
