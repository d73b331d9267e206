"""Checksums of an output, each by a thread of its own, and the files of them."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from blockdev.core.checksum_files import beside, line
from blockdev.filesystems.region import data

CHUNK = 1 << 20
_ZEROS = bytes(CHUNK)
_AHEAD = 16  # chunks that may wait for a slow checksum


class Checksums:
    """Takes an output's bytes in order; a context, at whose end the threads end."""

    def __init__(self, names: Iterable[str]) -> None:
        self._digests = {name: hashlib.new(name, usedforsecurity=False) for name in dict.fromkeys(names)}
        self._threads = [ThreadPoolExecutor(1) for _ in self._digests]
        self._waiting: deque[list[Future[None]]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for thread in self._threads:
            thread.shutdown(cancel_futures=True)

    def update(self, content: bytes) -> None:
        """The next bytes. They are counted in later, so they must not change."""
        digests = self._digests.values()
        self._waiting.append(
            [thread.submit(digest.update, content) for thread, digest in zip(self._threads, digests, strict=True)]
        )
        if len(self._waiting) > _AHEAD:
            self._settle()

    def _settle(self) -> None:
        for future in self._waiting.popleft():
            future.result()

    def results(self) -> dict[str, str]:
        """Each checksum in hexadecimal, of all that came so far."""
        while self._waiting:
            self._settle()
        return {name: digest.hexdigest() for name, digest in self._digests.items()}


def of_file(path: Path, names: Iterable[str]) -> dict[str, str]:
    """Checksums of a whole file, of which holes are not read: they count as the zeros they stand for."""
    with Checksums(names) as sums, path.open("rb", buffering=0) as file:
        offset, size = 0, os.fstat(file.fileno()).st_size
        for start, stop in data(file.fileno(), 0, size):
            _add_zeros(sums, start - offset)
            offset = start
            while offset < stop and (content := os.pread(file.fileno(), min(CHUNK, stop - offset), offset)):
                sums.update(content)
                offset += len(content)
        _add_zeros(sums, size - offset)
        return sums.results()


def _add_zeros(sums: Checksums, length: int) -> None:
    for _ in range(length // CHUNK):
        sums.update(_ZEROS)
    sums.update(_ZEROS[: length % CHUNK])


def write_beside(target: Path, folder: Path, sums: Mapping[str, str]) -> None:
    """Write the checksum files of ``target``, by way of ``folder`` on the same file system."""
    for name, digest in sums.items():
        partial = folder / f"checksum.{name}"
        partial.write_bytes(line(digest, target.name))
        partial.replace(beside(target, name))
