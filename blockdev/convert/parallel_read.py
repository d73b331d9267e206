"""Reading a raw image for an encoder: its data in units of a format's own length, worked on by threads, in order.

Each unit is encoded by itself, and what comes of it is handed on in the order of the image: the same output on every
number of processors.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from blockdev.filesystems.region import data

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def pieces(file: int, size: int, unit: int, most: int) -> Iterator[range]:
    """The numbers of the units (of ``unit`` bytes) of an open file that may hold data, each once, in order.

    ``size`` is the file's length in bytes. No range crosses a multiple of ``most``; what lies in holes is in none.
    """
    done = 0
    for start, stop in data(file, 0, size):
        first, last = max(start // unit, done), -(-stop // unit)
        while first < last:
            cut = min(last, (first // most + 1) * most)
            yield range(first, cut)
            first = cut
        done = max(done, last)


def units(file: int, piece: range, unit: int) -> Iterator[tuple[int, bytes]]:
    """Number and content of each unit of a piece that is not all zeros; the file's last one is filled up with zeros."""
    content, blank = _read(file, piece.start * unit, len(piece) * unit), bytes(unit)
    for number, start in zip(piece, range(0, len(content), unit), strict=False):
        part = content[start : start + unit]
        if len(part) < unit:
            part = part.ljust(unit, b"\0")
        if part != blank:
            yield number, part


def _read(file: int, offset: int, length: int) -> bytes:
    content = os.pread(file, length, offset)
    while len(content) < length and (more := os.pread(file, length - len(content), offset + len(content))):
        content += more
    return content


def in_order(work: Callable[[_Item], _Result], items: Iterable[_Item], threads: int) -> Iterator[_Result]:
    """What ``work`` makes of each given thing, in the order of the giving; only a few are under way or wait at a time.

    The first exception is raised in its place, and what was not begun then is left out.
    """
    running: deque[Future[_Result]] = deque()
    pool = ThreadPoolExecutor(max(1, threads))
    try:
        for item in items:
            running.append(pool.submit(work, item))
            if len(running) > 2 * threads + 2:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
