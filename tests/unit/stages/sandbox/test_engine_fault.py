"""What keeps every stage from running is the engine's fault, and told as such: no script of anybody's has run."""

from __future__ import annotations

import pytest

from stages.sandbox.process import NOT_SET_UP
from stages.sandbox.sandbox import engine_fault


def test_a_sandbox_that_cannot_be_set_up_is_the_engine_s_fault() -> None:
    fault = engine_fault(125, f"first\n{NOT_SET_UP}: [Errno 1] SIOCSIFFLAGS: Operation not permitted\n")
    assert fault is not None
    assert "SIOCSIFFLAGS" in fault.what
    assert fault.where == "engine"
    assert "doctor" in fault.hint


@pytest.mark.parametrize(
    ("status", "said"), [(125, "the script's own status"), (1, f"{NOT_SET_UP}: a script's echo"), (0, "")]
)
def test_what_a_script_says_is_its_own(status: int, said: str) -> None:
    assert engine_fault(status, said) is None
