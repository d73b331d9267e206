"""Traces of scripts name file, function and line; a script that does not trace is what it was."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from stages.element import tracing
from stages.element.hooks import merge
from stages.layers.stage_environment import stage_environment
from stages.plan.plan import Plan, make_plan
from stages.protocol.request import Request

ASKS = '#!/bin/bash\nif [ "${DIB_DEBUG_TRACE:-0}" -gt 0 ]; then\n    set -x\nfi\ngreet() {\n    echo hello\n}\ngreet\n'


def plan_of(root: Path, trace: str) -> Plan:
    scripts = {"root.d/10-os": "#!/bin/bash\n", "install.d/20-asks": ASKS, "install.d/30-never": "#!/bin/bash\ntrue\n"}
    for path, text in scripts.items():
        file = root / "os" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
    elements = [("os", root / "os")]
    request = Request("build", name="x", asked=("os",), elements=("os",), image="1")
    return make_plan(request, elements, merge(elements), {"ARCH": "amd64", "DIB_DEBUG_TRACE": trace}, ())


def test_only_scripts_that_trace_are_given_it(tmp_path: Path) -> None:
    off, on = plan_of(tmp_path, "0"), plan_of(tmp_path, "1")
    assert not any("BASH_ENV" in stage_environment(stage, off) for stage in off.stages)
    traced = [stage for stage in on.stages if "BASH_ENV" in stage_environment(stage, on)]
    assert [stage.script.path for stage in traced] == ["install.d/20-asks"]
    (stage,) = traced
    assert stage.environment["BASH_ENV"] == f"/tmp/in_target.d/{tracing.FILE}"
    assert tracing.FILE in stage.files
    assert f"file {tracing.FILE}" in stage.inputs
    first = [stage.key for stage in off.stages if stage.phase.name == "root"]
    assert first == [stage.key for stage in on.stages if stage.phase.name == "root"]


@pytest.mark.parametrize("first", ["set -eu", ""])
def test_a_trace_names_file_function_and_line(tmp_path: Path, first: str) -> None:
    script, setting = tmp_path / "20-asks", tmp_path / "bash"
    script.write_text(ASKS.replace("if [", f"{first}\nif [", 1))
    setting.write_bytes(tracing.file().data)
    environment = {"BASH_ENV": str(setting), "DIB_DEBUG_TRACE": "1"}
    done = subprocess.run(["/bin/bash", script], env=environment, capture_output=True, text=True, check=True)
    assert f"+ {script}:main:9:   greet\n" in done.stderr
    assert f"+ {script}:greet:7:   echo hello\n" in done.stderr


@pytest.mark.parametrize(
    ("text", "trace", "traced"),
    [
        (ASKS, "0", False),
        (ASKS, "", False),
        (ASKS, "2", True),
        ("#!/bin/bash\nset -eux\n", "0", True),
        ("#!/bin/bash -x\n", "0", True),
        ("#!/bin/bash\nset -o xtrace\n", "0", True),
        ("#!/bin/bash\n# set -x helps\nset -e\n", "0", False),
    ],
)
def test_which_scripts_trace(text: str, trace: str, traced: bool) -> None:
    assert tracing.is_traced(text, {"DIB_DEBUG_TRACE": trace}) is traced
