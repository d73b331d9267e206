"""The nightly report: a line for each row, and the one issue that has it (its script, with a stand-in for gh)."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.matrix.report import text
from tests.matrix.rows import rows
from tests.matrix.verify import jobs

WORKFLOW = Path(__file__).parents[2] / ".github/workflows/nightly.yml"
TODAY = datetime(2026, 11, 30, tzinfo=UTC)


def report(distribution: str, facts: list[str], errors: list[str]) -> dict[str, Any]:
    return {
        "distribution": distribution,
        "release": "1",
        "architecture": "amd64",
        "facts": [{"fact": "keys", "about": "os", "state": state, "text": "a sentence"} for state in facts],
        "steps": [{"step": f"step-{number}", "error": error} for number, error in enumerate(errors)],
    }


def test_each_row_has_a_line_and_what_is_wrong_below() -> None:
    found = [
        report("acme", ["verified", "verified", "not reached"], ["", ""]),
        report("bad", ["differs"], ["", "it broke"]),
        report("facts", ["verified"], []),
    ]
    lines = text(found, ["acme 1 amd64", "gone 1 arm64"], TODAY).splitlines()
    assert lines[:2] == ["Of 2026-11-30. What was not reached is not verified.", ""]
    assert lines[4:8] == [
        "| acme 1 amd64 | 2 | 0 | 1 | all passed |",
        "| bad 1 amd64 | 0 | 1 | 0 | failed: step-1 |",
        "| facts 1 amd64 | 1 | 0 | 0 | facts alone |",
        "| gone 1 arm64 | | | | no report: the job ended before it |",
    ]
    assert lines[8:13] == ["", "### bad 1 amd64", "", "- keys (os) differs: a sentence", "- step-1 failed: it broke"]
    assert "## The facts themselves" in lines


def test_every_row_of_the_matrix_has_a_job() -> None:
    made = jobs(rows(), "")["include"]
    assert [(job["distribution"], job["release"], job["arch"]) for job in made] == [row.source for row in rows()]
    assert {job["options"] for job in made if job["arch"] == "s390x"} == {"--facts"}
    assert {job["options"] for job in made if job["arch"] == "amd64"} == {""}


def step(name: str) -> dict[str, Any]:
    workflow = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    found: dict[str, Any] = next(each for each in workflow["jobs"]["report"]["steps"] if each.get("name") == name)
    return found


GH = """#!/bin/bash
printf '%s\\n' "$*" >> calls
[[ "$1 $2" != "issue list" ]] || printf '%s' "$OPEN"
"""


@pytest.mark.parametrize(
    ("already", "call"),
    [
        ("", "issue create --title {title} --body-file report.md"),
        ("7\n", "issue edit 7 --body-file report.md"),
        ("7\n3\n", "issue edit 7 --body-file report.md"),
    ],
)
def test_one_issue_is_opened_and_then_updated(tmp_path: Path, already: str, call: str) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/gh").write_text(GH)
    (tmp_path / "bin/gh").chmod(0o755)
    publish = step("Open or update the issue")
    environment = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "OPEN": already, "TITLE": publish["env"]["TITLE"]}
    subprocess.run(["bash", "-eo", "pipefail", "-c", publish["run"]], cwd=tmp_path, env=environment, check=True)
    listed, last = (tmp_path / "calls").read_text().splitlines()
    assert listed.startswith("issue list --state open")
    assert last == call.format(title=publish["env"]["TITLE"])
