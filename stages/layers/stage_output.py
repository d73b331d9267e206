"""A stage's output, line by line."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from blockdev.core.disk_space import WORDS, DiskWatch
from blockdev.core.errors import BuildError
from stages.protocol import events
from stages.protocol.emit import emit

TAIL_LINES = 20
LONGEST = 1 << 14  # bytes of a line; a longer one goes on in several
KEPT_OF_LINE = 2000  # characters of each of the last lines
MOST = 1 << 28  # bytes that are passed on of one stage
NOTE = "dib-ctr note: "  # how a line begins that an element's script has for who builds
MOST_NOTES = 20  # of one stage


@dataclass
class Lines:
    """A stage's output, passed on line by line; the last lines are kept for the report of a failure.

    Each byte is looked at once, whatever the script prints: a line without an end goes on in pieces, and what is more
    than MOST bytes is left out, with a note.
    """

    number: int
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    said_full: str = ""  # the first line that tells of a full disk
    _begun: bytearray = field(default_factory=bytearray)
    _passed: int = 0
    _notes: int = 0

    def add(self, data: bytes) -> None:
        """Take what came from the stage."""
        *whole, rest = data.split(b"\n")
        for part in whole:
            self._extend(part)
            self._line()
        self._extend(rest)

    def remark(self, sentence: str) -> None:
        """Say something in the stage's log."""
        self.end()
        self.add(f"dib-ctr: {sentence}\n".encode("utf-8", "surrogateescape"))

    def end(self) -> None:
        """The stage has ended: pass on a last line without an end."""
        if self._begun:
            self._line()

    def refuse_full(self, title: str, watch: DiskWatch) -> None:
        """Do not keep what a stage left that met a full disk, though its script ended with 0. Raises BuildError."""
        ended = f" while {title} ran; its script ended with 0 all the same, but what it left is not kept"
        full = watch.full(during=ended)
        if full:
            raise full
        if self.said_full:
            raise BuildError(
                f"{title} met a full disk, and its script ended with 0 all the same: what it left is not kept",
                where=self.said_full,
                hint="the disk that holds the store has room; where the script fills a file system of its own on "
                "purpose, have it say nothing about that (2> /dev/null)",
            )

    def _extend(self, part: bytes) -> None:
        at = 0
        while len(self._begun) + len(part) - at > LONGEST:
            room = LONGEST - len(self._begun)
            self._begun += part[at : at + room]
            at += room
            self._line()
        self._begun += part[at:]

    def _line(self) -> None:
        line, self._begun = self._begun.removesuffix(b"\r"), bytearray()
        text = line.rpartition(b"\r")[2].decode("utf-8", "replace")
        self.tail.append(text[:KEPT_OF_LINE])
        if not self.said_full and any(words in text for words in WORDS):
            self.said_full = text.strip()[-200:]
        if text.startswith(NOTE) and self._notes < MOST_NOTES:
            self._notes += 1
            emit(events.Note(text=text.removeprefix(NOTE)[:KEPT_OF_LINE]))
        before = self._passed
        self._passed += len(line) + 1
        if self._passed <= MOST:
            emit(events.Log(number=self.number, text=text))
        elif before <= MOST:
            text = f"dib-ctr: the stage has printed {MOST >> 20} MiB, and what it prints from here on is left out"
            emit(events.Log(number=self.number, text=text))
