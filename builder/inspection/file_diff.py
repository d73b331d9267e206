"""Where two files differ, in words for a person: the place, a small diff of two texts, diffoscope's report of the rest.

diffoscope looks into archives, programs and so on; it is asked where it is installed.
"""

from __future__ import annotations

import codecs
import difflib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from blockdev.core import tools

PIECE = 1 << 20  # bytes
LARGEST_TEXT = 1 << 20  # bytes; a larger text is not shown as a diff
SHOWN = 100  # letters of a line
SHOWN_BYTES = 16  # of a file that is no text
DIFF_LINES = 40
REPORT_BYTES = 8000
PATIENCE = 120  # seconds for diffoscope, which unpacks whatever it meets


@dataclass(frozen=True)
class Spot:
    """The first place where two files differ: what it is, both versions of it, and more about it (lines of text)."""

    what: str
    ours: str
    theirs: str
    details: str = ""


def first_spot(ours: Path, theirs: Path) -> Spot | None:
    """Where the two files begin to differ; None where they are the same."""
    offset, newlines, line_start = _offset(ours, theirs)
    if offset is None:
        return None
    lines = [_line(path, line_start, offset) for path in (ours, theirs)]
    # Lines that end within a character may look the same.
    text = None not in lines and lines[0] != lines[1] and not _has_zeros(ours, offset)
    what = f"content, from byte {offset}" + (f" (line {newlines + 1})" if text else "")
    lengths = [path.stat().st_size for path in (ours, theirs)]
    spots = []
    for path, line, length in zip((ours, theirs), lines, lengths, strict=True):
        spot = "the end" if offset >= length and not line else repr(line) if text else _hex(path, offset)
        spots.append(spot if len(set(lengths)) == 1 else f"{spot} ({length} bytes in all)")
    return Spot(what, spots[0], spots[1], _diff(ours, theirs) or diffoscope_report(ours, theirs))


def _offset(ours: Path, theirs: Path) -> tuple[int | None, int, int]:
    """The first byte that differs, the newlines before it, and where its line begins."""
    at = newlines = line_start = 0
    with ours.open("rb") as file, theirs.open("rb") as other:
        while True:
            first, second = file.read(PIECE), other.read(PIECE)
            same = _common(first, second)
            newlines += first.count(b"\n", 0, same)
            line_start = at + first.rfind(b"\n", 0, same) + 1 if b"\n" in first[:same] else line_start
            if first != second:
                return at + same, newlines, line_start
            if not first:
                return None, newlines, line_start
            at += same


def _common(first: bytes, second: bytes) -> int:
    """How many bytes two strings have in common at their beginning."""
    if first == second:
        return len(first)
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        if first[:middle] == second[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _line(path: Path, line_start: int, offset: int) -> str | None:
    """The line that begins there, or what of a long one is around the place; None where it is no text."""
    start = max(line_start, offset - SHOWN // 2)
    with path.open("rb") as file:
        file.seek(start)
        data = file.read(4 * SHOWN + 4)
    line, newline, _ = data.partition(b"\n")
    while start > line_start and line and line[0] & 0xC0 == 0x80:  # in the middle of a letter
        line = line[1:]
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(line, final=bool(newline))
    except UnicodeDecodeError:
        return None
    if "\0" in text:
        return None
    return ("..." if start > line_start else "") + (text if len(text) <= SHOWN else text[:SHOWN] + "...")


def _has_zeros(path: Path, offset: int) -> bool:
    """Is there a zero byte before the place, or shortly after it, as in a program and not in a text."""
    with path.open("rb") as file:
        return b"\0" in file.read(min(offset + 4 * SHOWN, LARGEST_TEXT))


def _hex(path: Path, offset: int) -> str:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(SHOWN_BYTES).hex(" ") or "the end"


def _diff(ours: Path, theirs: Path) -> str:
    """The beginning of a unified diff of two small texts; "" for others."""
    if max(path.stat().st_size for path in (ours, theirs)) > LARGEST_TEXT:
        return ""
    try:
        texts = [path.read_text(encoding="utf-8") for path in (ours, theirs)]
    except UnicodeDecodeError:
        return ""
    if any("\0" in text for text in texts):
        return ""
    lines_of_ours, other = (text.removesuffix("\n").split("\n") for text in texts)
    lines = list(difflib.unified_diff(lines_of_ours, other, "first", "second", lineterm="", n=1))
    shown = [line if len(line) <= 2 * SHOWN else line[: 2 * SHOWN] + "..." for line in lines[:DIFF_LINES]]
    return "\n".join([*shown, *([f"({len(lines) - DIFF_LINES} more lines)"] if len(lines) > DIFF_LINES else [])])


def diffoscope_report(ours: Path, theirs: Path) -> str:
    """What diffoscope says of two files, up to a limit; "" where it is not installed, fails or takes too long."""
    program = shutil.which("diffoscope")
    if program is None:
        return ""
    limit = ["--max-text-report-size", str(REPORT_BYTES), "--no-progress", "--text", "-"]
    paths = [path.absolute() for path in (ours, theirs)]
    above = os.path.commonpath([path.parent for path in paths])  # the report names them from there
    try:
        names = [os.path.relpath(path, above) for path in paths]
        done = tools.run([program, *limit, *names], cwd=Path(above), seconds=PATIENCE)
    except (OSError, tools.TimeoutExpired):
        return ""
    # 1 is "they differ"; it may overrun its own limit by what it was about to write
    return done.out[: 2 * REPORT_BYTES].decode(errors="replace").rstrip() if done.status == 1 else ""
