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
# One that has begun and may go on in the next chunk; a carriage return may have its line feed there.
_UNFINISHED = re.compile(r"(?:\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?|[PX^_][^\x1b]*\x1b?|[ -/]*)|\r+)\Z")
_LINE_END = re.compile(r"\r*\n|\r+")
_CONTROL = re.compile(r"[\x00-\x08\x0c-\x1f\x7f]")
_MOVED = "\v"


def _without_escape(match: re.Match[str]) -> str:
    """A move to another place ends a line, wherever the place is; colours and the like are nothing."""
    text = match[0]
    return _MOVED if text[1] == "[" and text[-1] in "Hf" else ""


class Console:
    """The state of one serial line.

    ``expected`` is searched in each line, and in the one that has no end yet: a prompt never has one. The first
    thing noticed stays in ``sighting``; ``lines`` are the last ones, as a person would read them. Without
    ``expected`` only failures are noticed.
    """

    def __init__(self, expected: re.Pattern[str] | None = LOGIN_PROMPT) -> None:
        self.expected = expected
        self.sighting: Sighting | None = None
        self.stage = Stage.NOTHING
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._pending = ""
        self._line = ""
        self._growing = False
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._starts: Counter[int] = Counter()

    @property
    def lines(self) -> list[str]:
        """The last lines that were not empty, with the one that has no end yet."""
        return [line for line in (*self._lines, self._line.rstrip()) if line]

    @property
    def wanted(self) -> str:
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
        text = _LINE_END.sub("\n", _ESCAPE.sub(_without_escape, text))
        shown = []
        for piece in re.split(rf"([\n{_MOVED}])", _CONTROL.sub("", text.replace("\x1b", ""))):
            if piece == "\n" or (piece == _MOVED and self._line):
                self._end_line()
                shown.append("\n")
            elif piece != _MOVED:
                self._line += piece
                shown.append(piece)
        if len(self._line) > _LONGEST_LINE:
            self._end_line()
        elif self._line:
            self._notice(self._line)
        return "".join(shown)

    def _end_line(self) -> None:
        line, self._line = self._line.rstrip(), ""
        for number, start in enumerate(_STARTS):
            self._starts[number] += bool(start.search(line))
        self._notice(line)
        self._growing = False
        self._lines.append(line)

    def _notice(self, line: str) -> None:
        self.stage = max((self.stage, *(stage for stage, pattern in _STAGES if pattern.search(line))))
        if self.sighting is not None:
            if self._growing:
                self.sighting = Sighting(self.sighting.sign, line.strip())
            return
        if self.expected and self.expected.search(line):
            self._see(Sign.REACHED, line)
            return
        found = next((sign for sign, pattern in _SIGNS if pattern.search(line)), None)
        if found is None and any(count > 1 + RESTARTS_ALLOWED for count in self._starts.values()):
            found = Sign.RESTARTS
        if found is not None:
            self._see(found, line)

    def _see(self, sign: Sign, line: str) -> None:
        """Keep a sign; its line grows as long as it has no end."""
        self.sighting = Sighting(sign, line.strip())
        self._growing = True
