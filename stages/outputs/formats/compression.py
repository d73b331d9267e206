"""How layers are compressed: gzip in blocks by zlib, or zstd by its command; what wrote them goes on record."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from blockdev.core.tools import run
from stages.outputs.formats import media_types
from stages.outputs.formats.gzip_blocks import Blob, BlockCache, BlockWriter, write_blocks
from stages.outputs.formats.tar_stream import BlockSink, Written
from stages.outputs.formats.tools import command, explained, feed

DEFAULTS = {"gzip": 6, "zstd": 9}

Write = Callable[[BinaryIO | BlockSink], Written]


@dataclass(frozen=True)
class Compression:
    """``name`` is gzip or zstd, ``level`` what these commands call so."""

    name: str = "gzip"
    level: int = DEFAULTS["gzip"]

    @classmethod
    def chosen(cls, name: str = "", level: str = "") -> Compression:
        """From options as text, already checked; what is not given is the default."""
        name = name or "gzip"
        return cls(name, int(level) if level else DEFAULTS[name])

    @property
    def media_type(self) -> str:
        """The media type of a layer (OCI image specification, layer.md)."""
        return f"{media_types.LAYER}+{self.name}"

    def tool(self) -> str:
        """Which program of which version compresses, for the record."""
        if self.name == "gzip":
            return f"gzip level {self.level}, zlib {zlib.ZLIB_RUNTIME_VERSION}"
        words = run(["zstd", "--version"]).text.split()
        version = next((word.strip(",") for word in words if word.startswith("v")), "of an unknown version")
        return f"zstd level {self.level}, {version}"


class _Both:
    """A pipe and a digest over what goes into it."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self.digest = hashlib.sha256()

    def write(self, data: bytes) -> object:
        self.digest.update(data)
        return self._pipe.write(data)

    def member(self, name: bytes, size: int) -> None:
        """Of no use to zstd, which cuts its jobs by length."""


def write_layer(target: Path, compression: Compression, blocks: Path | None, write: Write) -> Blob:
    """Write an archive to the new file ``target``, compressed. ``blocks`` is the folder of kept blocks, if any.

    Raises BuildError where a command fails, OSError where writing does.
    """
    if compression.name == "gzip":
        cache = BlockCache(blocks, compression.level) if blocks else None

        def fill(writer: BlockWriter) -> object:
            return write(writer)

        return write_blocks(target, compression.level, cache, fill)
    plain = hashlib.sha256()

    def through(pipe: BinaryIO) -> Written:
        nonlocal plain
        both = _Both(pipe)
        written = write(both)
        plain = both.digest
        return written

    # zstd cuts its jobs by length alone: the bytes are the same on every number of processors.
    threads = max(2, len(os.sched_getaffinity(0)))
    with target.open("wb") as out, explained("zstd"):
        zstd = command("zstd", target.parent).bake("-q", f"-T{threads}", f"-{compression.level}", "-c", _out=out)
        feed(zstd, through)
    with target.open("rb") as data:
        digest = hashlib.file_digest(data, "sha256").hexdigest()
    return Blob(f"sha256:{digest}", f"sha256:{plain.hexdigest()}", target.stat().st_size)
