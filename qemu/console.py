"""Reads the serial line of a machine: takes the terminal's escapes away and notices where the boot has come to."""

from __future__ import annotations

import codecs
import re
from collections import Counter, deque
from dataclasses import dataclass
from enum import Enum, IntEnum

# agetty's and busybox's prompt; "Last login: ..." comes after a login and is none. agetty writes the machine's name,
# the blank and the rest one after the other, and what the system says of its services may come between.
LOGIN_PROMPT = re.compile(r"^(?!Last )\S+ login:(?:\s|$)|^ ?login: ?$")

KEPT_LINES = 400
RESTARTS_ALLOWED = 3  # a first boot may restart the machine (a relabel, new partitions); more is a loop
_LONGEST_LINE = 8192
_LONGEST_ESCAPE = 512


class Sign(Enum):
    """What a line on the console means for the boot."""

    REACHED = "reached"
    PANIC = "kernel panic"
    INITRAMFS = "initramfs shell"
    EMERGENCY = "emergency mode"
    GRUB_RESCUE = "GRUB rescue"
    GRUB_SHELL = "GRUB shell"
    NO_LOADER = "no boot loader"
    FIRMWARE_SHELL = "firmware shell"
    RESTARTS = "restarts"


class Stage(IntEnum):
    """How far a machine came, as told by the console."""

    NOTHING = 0
    FIRMWARE = 1
    LOADER = 2
    KERNEL = 3
    SYSTEM = 4


@dataclass(frozen=True)
class Sighting:
    """A sign, and the line that it was seen in."""

    sign: Sign
    line: str


_SIGNS = (
    (Sign.PANIC, re.compile(r"Kernel panic - not syncing|---\[ end Kernel panic")),
    (Sign.INITRAMFS, re.compile(r"^\(initramfs\)|^dracut:/#|Dropping to a shell!")),
    (
        Sign.EMERGENCY,
        re.compile(r"You are in (?:emergency|rescue) mode|^(?:Give root password|Press Enter) for maintenance"),
    ),
    (Sign.GRUB_RESCUE, re.compile(r"^grub rescue>")),
    (Sign.GRUB_SHELL, re.compile(r"^grub>")),
    (
        Sign.NO_LOADER,
        re.compile(
            # SeaBIOS, EDK2, SLOF, s390-ccw.
            r"^No bootable device|No bootable option or device was found|^E340[45]:|^Failed to load OS from"
        ),
    ),
    # EDK2's, U-Boot's and SLOF's prompts.
    (Sign.FIRMWARE_SHELL, re.compile(r"^Shell>|^=> ?$|^0 > ?$")),
)

_STAGES = (
    (
        Stage.FIRMWARE,
        re.compile(r"SeaBIOS|BdsDxe|UEFI (?:firmware|Interactive)|U-Boot|SLOF|OpenSBI|s390-ccw|Booting from"),
    ),
    (Stage.LOADER, re.compile(r"GRUB|^Loading (?:Linux|initial ramdisk)|systemd-boot|LILO|ISOLINUX|SYSLINUX|EFI stub")),
    (Stage.KERNEL, re.compile(r"Linux version|^\[ *\d+\.\d{6}\]|Decompressing Linux|Run /\S+ as init process")),
    (Stage.SYSTEM, re.compile(r"systemd\[1\]|^Welcome to (?!GRUB)|^\[  OK  \]|OpenRC|^INIT: |cloud-init\[")),
)

# What is written once for each start of a machine.
_STARTS = (
    re.compile(r"^SeaBIOS \(version"),
    re.compile(r"Welcome to GRUB|GNU GRUB +version"),
    re.compile(r"Linux version \d"),
)

# ECMA-48: control sequences, operating system commands, other strings, and escapes of two characters.
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|[ -/]*[0-~])")
# One that has begun and may go on in the next chunk.
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?|[PX^_][^\x1b]*\x1b?|[ -/]*)\Z")
_CONTROL = re.compile(r"[\x00-\x08\x0c-\x1f\x7f]")
_MOVED = "\v"  # before and after a place: row, ";", column
_LINE_START = f"{_MOVED}0;1{_MOVED}"  # of whatever row the cursor is in
_BREAK = re.compile(rf"(\n|{_MOVED}\d+;\d+{_MOVED})")
_PLACE = re.compile(r"\[0*(\d*);?0*(\d*)")


def _without_escape(match: re.Match[str]) -> str:
    """Of a move to a place that is kept; colours and the like are nothing."""
    text = match[0]
    position = _PLACE.match(text, 1)
    if position is None or text[-1] not in "Hf":
        return ""
    return f"{_MOVED}{position[1] or 1};{position[2] or 1}{_MOVED}"


def _stage(line: str) -> Stage:
    """How far a machine has come that writes this line."""
    return max((stage for stage, pattern in _STAGES if pattern.search(line)), default=Stage.NOTHING)


class Console:
    """The state of one serial line.

    ``expected`` is searched in each line, and in the one that has no end yet: a prompt never has one. The first
    thing noticed stays in ``sighting``; ``lines`` are the last ones, as a person would read them. Without
    ``expected`` only failures are noticed.
    """

    def __init__(self, expected: re.Pattern[str] | None = LOGIN_PROMPT) -> None:
        self.expected = expected
        self.sighting: Sighting | None = None
        self._stage = Stage.NOTHING
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._pending = ""
        self._line = ""
        self._first_column = 1
        self._moves: list[tuple[int, int]] = []  # since the last text: row and column
        self._growing = False
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._starts: Counter[int] = Counter()

    @property
    def lines(self) -> list[str]:
        """The last lines that were not empty, with the one that has no end yet."""
        return [line for line in (*self._lines, self._line.rstrip()) if line]

    @property
    def stage(self) -> Stage:
        """How far it came by now; the line that has no end yet may still become another one, and is asked anew."""
        return max(self._stage, _stage(self._line))

    @property
    def awaited(self) -> str:
        """What is expected, in words."""
        if self.expected is LOGIN_PROMPT:
            return "a login prompt"
        return f"/{self.expected.pattern}/" if self.expected else ""

    @property
    def in_line(self) -> bool:
        """Has the last line no end yet."""
        return bool(self._line)

    def expect_no_more(self) -> None:
        """What was expected has been seen; from now on only failures are noticed."""
        self.expected = self.sighting = None
        self._growing = False

    def feed(self, data: bytes) -> str:
        """Take what came over the line; returns it as plain text that may be shown at once."""
        text = self._pending + self._decoder.decode(data)
        unfinished = _UNFINISHED.search(text)
        self._pending = ""
        if unfinished and len(unfinished[0]) <= _LONGEST_ESCAPE:
            text, self._pending = text[: unfinished.start()], unfinished[0]
        text = _ESCAPE.sub(_without_escape, text.replace(_MOVED, "")).replace("\r", _LINE_START)
        shown = []
        for piece in _BREAK.split(_CONTROL.sub("", text.replace("\x1b", ""))):
            if piece == "\n":
                self._end_line()
                shown.append("\n")
            elif piece.startswith(_MOVED):
                row, _, column = piece.strip(_MOVED).partition(";")
                self._moves = [*self._moves[-1:], (int(row), int(column))]
            elif piece:
                shown.append(self._come_to_text() + piece)
                self._line += piece
        if len(self._line) > _LONGEST_LINE:
            self._end_line()
        elif self._line:
            self._notice(self._line)
        return "".join(shown)

    def _come_to_text(self) -> str:
        """What the moves before some text are: the end of a line ("\\n"), unless they come back to where it ends.

        SeaBIOS makes such moves in the middle of words, each time its timer comes between.
        """
        moves, self._moves = self._moves, []
        column = self._first_column + len(self._line)
        if not moves or (self._line and moves[-1][1] == column and moves[0][0] in (0, moves[-1][0])):
            return ""
        ended = "\n" if self._line else ""
        if ended:
            self._end_line()
        self._first_column = moves[-1][1]
        return ended

    def _end_line(self) -> None:
        line, self._line = self._line.rstrip(), ""
        self._first_column = 1
        for number, start in enumerate(_STARTS):
            self._starts[number] += bool(start.search(line))
        self._stage = max(self._stage, _stage(line))
        self._notice(line)
        self._growing = False
        self._lines.append(line)

    def _notice(self, line: str) -> None:
        if self.sighting is not None:
            if self._growing:
                self.sighting = Sighting(self.sighting.sign, line.strip())
            return
        if self.expected and self.expected.search(line):
            self._see(Sign.REACHED, line)
            return
        seen = next((sign for sign, pattern in _SIGNS if pattern.search(line)), None)
        if seen is None and any(count > 1 + RESTARTS_ALLOWED for count in self._starts.values()):
            seen = Sign.RESTARTS
        if seen is not None:
            self._see(seen, line)

    def _see(self, sign: Sign, line: str) -> None:
        """Keep a sign; its line grows as long as it has no end."""
        self.sighting = Sighting(sign, line.strip())
        self._growing = True
