"""How a report is printed: text for people, JSON, or commands that a GitHub workflow shows beside the lines."""

from __future__ import annotations

import json

from builder.elements.check.finding import ERROR, NOTE, WARNING
from builder.elements.check.run import Report

_COMMANDS = {ERROR: "error", WARNING: "warning", NOTE: "notice"}


def _several(count: int, word: str) -> str:
    return f"{count} {word}" + ("" if count == 1 else "s")


def text(report: Report) -> str:
    """``FILE:LINE: SEVERITY: SENTENCE [CODE]`` a line, and a line that counts."""
    lines = [f"{finding.where}: {finding.severity}: {finding.text} [{finding.code}]" for finding in report.findings]
    counts = ", ".join(_several(report.count(severity), severity) for severity in (ERROR, WARNING, NOTE))
    return "\n".join([*lines, f"{_several(len(report.elements), 'element')}: {counts}"])


def as_json(report: Report) -> str:
    """An object: the elements looked at, how many of each severity there are, and the findings."""
    findings = [
        {
            "severity": finding.severity,
            "code": finding.code,
            "element": finding.element,
            "file": str(finding.file),
            "line": finding.line or None,
            "text": finding.text,
        }
        for finding in report.findings
    ]
    counts = {severity: report.count(severity) for severity in (ERROR, WARNING, NOTE)}
    return json.dumps({"elements": report.elements, **counts, "findings": findings}, indent=1)


def _escaped(value: str, more: str = "") -> str:
    for character in "%\r\n" + more:
        value = value.replace(character, f"%{ord(character):02X}")
    return value


def github(report: Report) -> str:
    """A workflow command for each finding."""
    lines = []
    for finding in report.findings:
        position = f"file={_escaped(str(finding.file), ':,')}" + (f",line={finding.line}" if finding.line else "")
        lines.append(f"::{_COMMANDS[finding.severity]} {position},title={finding.code}::{_escaped(finding.text)}")
    return "\n".join(lines)
