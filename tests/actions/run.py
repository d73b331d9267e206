"""Run `action.yml` as GitHub's runner would: ``python3 -m tests.actions.run [--with NAME=VALUE]... [--summary FILE]``.

Steps with ``run`` run as they stand, in GitHub's shell, with its files for outputs and the summary. Steps with ``uses``
are other people's actions, which only GitHub has: it is said what they would have been given. Prints the action's
outputs as JSON. Needs nothing but Python and PyYAML, as a runner has them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.actions.expressions import evaluate, filled, truth

CHECKOUT = Path(__file__).parents[2]
SHELL = ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail")


class StepError(Exception):
    """A step failed."""


@dataclass
class Run:
    """What one run of the action came to: its outputs, its summary, what steps of other actions were given."""

    outputs: dict[str, str] = field(default_factory=dict)
    summary: str = ""
    uses: list[dict[str, Any]] = field(default_factory=list)


def defaults(action: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    """All inputs; raises ValueError for one that the action does not have."""
    unknown = given.keys() - action["inputs"].keys()
    if unknown:
        raise ValueError(f"the action has no input {', '.join(sorted(unknown))}")
    return {name: given.get(name, str(each.get("default", ""))) for name, each in action["inputs"].items()}


def parsed(text: str) -> dict[str, str]:
    """What a step wrote to GITHUB_OUTPUT: ``name=value``, or ``name<<END``, lines, ``END``."""
    found: dict[str, str] = {}
    lines = iter(text.splitlines())
    for line in lines:
        name, mark, end = line.partition("<<")
        if mark and "=" not in name:
            value = []
            for more in lines:
                if more == end:
                    break
                value.append(more)
            found[name] = "\n".join(value)
        elif "=" in line:
            name, _, found_value = line.partition("=")
            found[name] = found_value
    return found


def run(workspace: Path, inputs: Mapping[str, str], environment: Mapping[str, str], checkout: Path = CHECKOUT) -> Run:
    """Run the action of a checkout in a workspace; raises StepError where a step fails.

    ``environment`` is the job's; the runner's own variables are added.
    """
    action = yaml.safe_load((checkout / "action.yml").read_text(encoding="utf-8"))
    result = Run()
    steps: dict[str, Any] = {}
    contexts = {"inputs": defaults(action, inputs), "steps": steps}
    with tempfile.TemporaryDirectory(prefix="dib-ctr-runner-") as temporary:
        for number, step in enumerate(action["runs"]["steps"]):
            if "if" in step and not truth(evaluate(step["if"], contexts)):
                continue
            if "uses" in step:
                given = {name: filled(str(value), contexts) for name, value in step.get("with", {}).items()}
                result.uses.append({"uses": step["uses"], **given})
                continue
            files = {name: Path(temporary) / f"{number}-{name}" for name in ("OUTPUT", "STEP_SUMMARY", "ENV", "PATH")}
            for file in files.values():
                file.touch()
            script = Path(temporary) / f"{number}.sh"
            script.write_text(filled(step["run"], contexts), encoding="utf-8")
            done = subprocess.run(
                [*SHELL, str(script)],
                cwd=workspace / filled(step.get("working-directory", "."), contexts),
                env={
                    **environment,
                    **{f"GITHUB_{name}": str(file) for name, file in files.items()},
                    **{name: filled(str(value), contexts) for name, value in step.get("env", {}).items()},
                    "CI": "true",
                    "GITHUB_ACTIONS": "true",
                    "GITHUB_ACTION_PATH": str(checkout),
                    "GITHUB_WORKSPACE": str(workspace),
                    "RUNNER_TEMP": temporary,
                },
                stdin=subprocess.DEVNULL,
                check=False,
            )
            if done.returncode != 0:
                raise StepError(f"the step {step['name']!r} ended with status {done.returncode}")
            if "id" in step:
                steps[step["id"]] = {"outputs": parsed(files["OUTPUT"].read_text(encoding="utf-8"))}
            result.summary += files["STEP_SUMMARY"].read_text(encoding="utf-8")
    result.outputs = {name: filled(each["value"], contexts) for name, each in action["outputs"].items()}
    return result


def main() -> int:
    """Run the action with what the command line gives it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--with", action="append", default=[], metavar="NAME=VALUE", dest="inputs")
    parser.add_argument("--workspace", type=Path, default=Path())
    options = parser.parse_args()
    inputs = dict(text.split("=", 1) for text in options.inputs)
    try:
        result = run(options.workspace.absolute(), inputs, os.environ)
    except StepError as error:
        print(error, file=sys.stderr)
        return 1
    print(result.summary)
    print(json.dumps({"outputs": result.outputs, "uses": result.uses}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
