"""Which parts of a raw image are read, and that threads hand on in order."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockdev.convert import parallel_read
from blockdev.convert.parallel_read import in_order, units


@given(
    st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 300)), max_size=8),
    st.sampled_from([16, 64]),
    st.sampled_from([1, 4]),
)
def test_every_unit_with_data_once(found: list[tuple[int, int]], unit: int, most: int) -> None:
    """Whatever lies where: each unit that data touches is in one piece, and no piece crosses a multiple."""
    extents: list[tuple[int, int]] = []
    for start, length in sorted(found):
        if not extents or start >= extents[-1][1]:
            extents.append((start, start + length))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parallel_read, "data", lambda _file, _start, _end: iter(extents))
        got = list(parallel_read.pieces(-1, 10_000, unit, most))
    touched = sorted({byte // unit for start, stop in extents for byte in range(start, stop)})
    assert [number for piece in got for number in piece] == touched
    assert all(piece[0] // most == piece[-1] // most for piece in got)


def test_holes_are_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A far piece of data in a long hole: only its units are asked for."""
    path = tmp_path / "far"
    with path.open("wb") as file:
        file.truncate(1 << 40)
        file.seek(1 << 39)
        file.write(b"far")
    read: list[tuple[int, int]] = []
    pread = os.pread

    def noted(file: int, length: int, offset: int) -> bytes:
        read.append((offset, length))
        return pread(file, length, offset)

    monkeypatch.setattr(os, "pread", noted)
    with path.open("rb") as source:
        todo = list(parallel_read.pieces(source.fileno(), 1 << 40, 65536, 16))
        got = [one for piece in todo for one in units(source.fileno(), piece, 65536)]
    assert got == [((1 << 39) // 65536, b"far".ljust(65536, b"\0"))]
    assert read == [(1 << 39, 65536)]


def test_order_and_bound() -> None:
    """Slow first tasks hold back later ones, and no more than a few are ahead."""
    given_out = 0

    def numbers() -> Iterator[int]:
        nonlocal given_out
        for number in range(40):
            given_out += 1
            yield number

    def work(number: int) -> int:
        time.sleep(0.002 * (number % 5 == 0))
        return number

    ahead = [given_out - done for done in in_order(work, numbers(), 3)]
    assert max(ahead) <= 2 * 3 + 3
    assert given_out == 40


def test_the_first_failure_is_raised_and_threads_end() -> None:
    """Nothing hangs, and what was not begun is left out."""
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 2:
            raise OSError(28, "full")
        return number

    before = threading.active_count()
    with pytest.raises(OSError, match="full"):
        list(in_order(work, range(1000), 2))
    assert len(begun) < 20
    assert threading.active_count() == before
