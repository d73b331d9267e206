"""What a stage left in the folders of later phases, read from its layer (whole builds: the integration test)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from stages.element.hooks import HooksTree
from stages.layers.later_scripts import LaterScripts
from stages.layers.store import Record
from stages.plan.plan import Plan
from tests.unit.stages.plan.plan_cases import BASE, plan_of

FILES = {**BASE, "a/extra-data.d/10-make": "#!/bin/bash\n"}


def left_by(
    tmp_path: Path, files: Mapping[str, str]
) -> tuple[Plan, LaterScripts, Record, list[Mapping[str, HooksTree]]]:
    plan = plan_of(tmp_path, FILES)
    asked: list[Mapping[str, HooksTree]] = []

    def remake(left: Mapping[str, HooksTree]) -> Plan:
        asked.append(left)
        return plan

    for name, text in files.items():
        file = tmp_path / "layers/l/hooks" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
    return plan, LaterScripts(remake), Record("k", "l", (), ("hooks",), {}, "", 1.0, 0.1, 0, ""), asked


def test_what_the_plan_has_already_changes_nothing(tmp_path: Path) -> None:
    plan, later, record, asked = left_by(tmp_path, {"install.d/50-see": FILES["a/install.d/50-see"], "data/x": "x"})
    assert later.after(plan, plan.find("10-make"), record, tmp_path) is None
    assert asked == []


def test_scripts_of_this_and_earlier_phases_are_none_of_later_ones(tmp_path: Path) -> None:
    plan, later, record, asked = left_by(tmp_path, {"root.d/90-x": "#!/bin/sh\n", "extra-data.d/90-x": "#!/bin/sh\n"})
    assert later.after(plan, plan.find("10-make"), record, tmp_path) is None
    assert asked == []


def test_one_that_no_plan_takes_is_remarked_on_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As with a disk whose last phases run on it."""
    plan, later, record, asked = left_by(tmp_path, {"cleanup.d/90-x": "#!/bin/sh\n"})
    for _ in range(2):
        later.after(plan, plan.find("10-make"), record, tmp_path)
    assert [set(left) for left in asked] == [{"extra-data/a/10-make"}]
    notes = [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()]
    assert len(notes) == 1
    assert notes[0].startswith("extra-data/a/10-make has left cleanup.d/90-x, which does not run")
