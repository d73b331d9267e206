"""The nightly runs' reports as one text for an issue: ``python -m tests.matrix.report FOLDER [--rows JSON]``.

``FOLDER`` has the reports of ``tests.matrix.verify`` (any depth, ``*.json``), ``--rows`` the jobs that there should
have been (as ``--list`` prints them): one without a report is told, too. What is old of the facts comes last.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.facts.__main__ import report as old_facts
from tests.facts.age import findings
from tests.facts.files import families
from tests.facts.mirrors import DIFFERS, NOT_REACHED, VERIFIED

HEAD = ("| row | facts verified | differ | not reached | steps |", "| --- | ---: | ---: | ---: | --- |")


def name(report: Mapping[str, Any]) -> str:
    """The row that a report is of."""
    return f"{report['distribution']} {report['release']} {report['architecture']}"


def expected(jobs: Mapping[str, Any]) -> list[str]:
    """The rows that there should be reports of."""
    return [f"{job['distribution']} {job['release']} {job['arch']}" for job in jobs["include"]]


def _steps(report: Mapping[str, Any]) -> str:
    failed = [step["step"] for step in report["steps"] if step["error"]]
    if not report["steps"]:
        return "facts alone"
    return f"failed: {', '.join(failed)}" if failed else "all passed"


def table(reports: Iterable[Mapping[str, Any]], wanted: Sequence[str]) -> list[str]:
    """A line for each row, those without a report too."""
    lines = {}
    for report in reports:
        states = [fact["state"] for fact in report["facts"]]
        counts = (str(states.count(state)) for state in (VERIFIED, DIFFERS, NOT_REACHED))
        lines[name(report)] = f"| {name(report)} | {' | '.join(counts)} | {_steps(report)} |"
    missing = {row: f"| {row} | | | | no report: the job ended before it |" for row in wanted if row not in lines}
    return [*HEAD, *(line for _, line in sorted({**lines, **missing}.items()))]


def details(reports: Iterable[Mapping[str, Any]]) -> list[str]:
    """What differs and what failed, below each row that has any of it."""
    lines = []
    for report in sorted(reports, key=name):
        said = [f"- {fact['fact']} ({fact['about']}) differs: {fact['text']}" for fact in report["facts"]]
        said = [line for line, fact in zip(said, report["facts"], strict=True) if fact["state"] == DIFFERS]
        said += [f"- {step['step']} failed: {step['error']}" for step in report["steps"] if step["error"]]
        if said:
            lines += ["", f"### {name(report)}", "", *said]
    return lines


def text(reports: Sequence[Mapping[str, Any]], wanted: Sequence[str], today: datetime) -> str:
    """The whole report as Markdown."""
    lines = [f"Of {today:%Y-%m-%d}. What was not reached is not verified.", "", *table(reports, wanted)]
    old = old_facts(findings(families(), today.date()), markdown=True)
    return "\n".join([*lines, *details(reports), "", "## The facts themselves", "", old])


def main() -> int:
    """Print the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", default='{"include": []}', metavar="JSON")
    options = parser.parse_args()
    reports = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(options.folder.rglob("*.json"))]
    print(text(reports, expected(json.loads(options.rows)), datetime.now(UTC)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
