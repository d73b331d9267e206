"""Ranges of bytes to be read: of memory, of a file, or put together from several ranges."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from blockdev.filesystems.region import data

_CHUNK = 1 << 20
_ZEROS = bytes(_CHUNK)


class Source(Protocol):
    """Where bytes come from. ``read`` may return fewer than asked for; ``pieces`` leaves out known holes."""

    def read(self, offset: int, length: int) -> bytes: ...

    def pieces(self, start: int, end: int) -> Iterator[tuple[int, int]]: ...


@dataclass(frozen=True)
class Memory:
    """Bytes that are at hand."""

    content: bytes

    def read(self, offset: int, length: int) -> bytes:
        return self.content[offset : offset + length]

    def pieces(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        yield start, end


@dataclass(frozen=True)
class File:
    """An open file, by its descriptor."""

    descriptor: int

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self.descriptor, length, offset)

    def pieces(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        return data(self.descriptor, start, end)


@dataclass(frozen=True)
class Joined:
    """Views one after the other, such as the segments of a logical volume."""

    parts: Sequence[View]

    def _within(self, start: int, end: int) -> Iterator[tuple[View, int, int, int]]:
        """View, its first byte here, and the range of it that is wanted."""
        at = 0
        for part in self.parts:
            low, high = max(start - at, 0), min(end - at, part.size)
            if low < high:
                yield part, at, low, high
            at += part.size

    def read(self, offset: int, length: int) -> bytes:
        return b"".join(part.read(low, high - low) for part, _, low, high in self._within(offset, offset + length))

    def pieces(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        for _, at, low, high in self._within(start, end):
            yield at + low, at + high


@dataclass(frozen=True)
class View:
    """``size`` bytes of a source from byte ``offset`` on."""

    source: Source
    offset: int
    size: int

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes: past the end there are zeros, so that no parser has to look how much it got."""
        there = max(0, min(length, self.size - offset))
        data = self.source.read(self.offset + offset, there) if offset >= 0 and there else b""
        return data.ljust(length, b"\0")

    def part(self, offset: int, length: int) -> View:
        """A range of this view, cut where the view ends."""
        start = min(max(offset, 0), self.size)
        return View(self.source, self.offset + start, max(0, min(length, self.size - start)))

    def blank(self) -> bool:
        """Is all of it zero?"""
        for start, stop in self.source.pieces(self.offset, self.offset + self.size):
            for offset in range(start, stop, _CHUNK):
                piece = self.source.read(offset, min(_CHUNK, stop - offset))
                if piece != _ZEROS[: len(piece)]:
                    return False
        return True


def view(content: bytes) -> View:
    """A view of bytes in memory."""
    return View(Memory(content), 0, len(content))


def text(raw: bytes, encoding: str = "utf-8") -> str:
    """A field of text that ends with its first NUL; what cannot be read becomes U+FFFD, spaces at its end go."""
    decoded = raw.decode(encoding, errors="replace")
    return decoded.partition("\0")[0].rstrip(" ")
