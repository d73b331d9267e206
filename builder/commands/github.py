"""The command that the GitHub Action runs: a build as its inputs say, and what came of it for later steps."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from blockdev.core.errors import UsageError
from builder.host_state.environment import of_caller


@click.command("github-action", hidden=True)
@click.pass_obj
def github_action(main: Callable[[Sequence[str]], int]) -> None:
    """Build as the variables INPUT_* say; write GITHUB_OUTPUT and GITHUB_STEP_SUMMARY."""
    from builder.frontends import github_action as github

    environment = of_caller()
    if "GITHUB_OUTPUT" not in environment:
        raise UsageError(
            "this command is for the GitHub Action, and GITHUB_OUTPUT is not set",
            hint="dib-ctr build, or uses: in a workflow",
        )
    inputs = github.inputs_of(environment)
    kept = Path(environment.get("RUNNER_TEMP") or tempfile.gettempdir())
    report = Path(tempfile.mkdtemp(prefix="dib-ctr-report-", dir=kept)) / "report.json"
    page = report.with_suffix(".html")
    words = github.words(inputs, report)
    with_summary = github.wants_summary(inputs)
    Path(inputs.get("dest", ".")).mkdir(parents=True, exist_ok=True)
    status = main(words)
    if report.exists():
        data = json.loads(report.read_text(encoding="utf-8"))
        values = github.outputs(data, Path.cwd()) | {
            "report": str(report),
            "page": str(page) if page.exists() else "",
            "page-name": github.page_name(data),
            "dest": str(Path(inputs.get("dest", ".")).absolute()),
        }
        with Path(environment["GITHUB_OUTPUT"]).open("a", encoding="utf-8") as file:
            file.write(github.written(values))
        if with_summary and "GITHUB_STEP_SUMMARY" in environment:
            with Path(environment["GITHUB_STEP_SUMMARY"]).open("a", encoding="utf-8") as file:
                file.write(github.summary(data))
    sys.exit(status)
