"""One thing that a check found: what, how bad, in which file and line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from blockdev.core.errors import UsageError

ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)


@dataclass(frozen=True)
class Finding:
    """``severity``: an error stops a build, a warning is odd, a note is only for information.

    ``code`` is short and stays the same, ``text`` is a sentence, ``line`` counts from 1 (0: the file as a whole).
    """

    severity: str
    code: str
    element: str
    file: Path
    line: int
    text: str

    @property
    def where(self) -> str:
        """``file:line``, or the file alone."""
        return f"{self.file}:{self.line}" if self.line else str(self.file)


_PLACE = re.compile(r"(.+?):([0-9]+)\Z", re.DOTALL)


def refused(error: UsageError, code: str, element: str, file: Path, severity: str = ERROR) -> Finding:
    """The finding for what a reader refused; its place is the error's where that names one."""
    match = _PLACE.match(error.where)
    line = int(match[2]) if match else 0
    return Finding(severity, code, element, file, line, error.what)


def remarked(remark: str, code: str, element: str, file: Path) -> Finding:
    """The warning for what a reader left alone; its place is what the remark begins with (``FILE:LINE: ``)."""
    match = re.match(rf"{re.escape(str(file))}:([0-9]+): ", remark)
    if match is None:
        return Finding(WARNING, code, element, file, 0, remark)
    return Finding(WARNING, code, element, file, int(match[1]), remark[match.end() :])


def order(finding: Finding) -> tuple[str, str, int, int, str, str]:
    """Sort key: by element, then file and line, errors first."""
    severity = SEVERITIES.index(finding.severity)
    return (finding.element, str(finding.file), finding.line, severity, finding.code, finding.text)
