"""A few of the kills of ``just faults``: the host engine, every phase."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MORE = pytest.param(20, marks=pytest.mark.thorough("a minute; `just faults` has five hundred"))


@pytest.mark.parametrize("kills", [5, MORE])
def test_a_right_build_follows_a_kill_at_any_instant_and_nothing_is_left(place: Path, kills: int) -> None:
    command = [sys.executable, "-m", "tests.faults", "--kills", str(kills), "--jobs", "2", "--folder", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stdout + done.stderr
    total = done.stdout.splitlines()[-1].split()
    assert int(total[1]) >= kills
