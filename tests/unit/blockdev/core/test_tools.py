"""Programs of the system are run in one way: what they read, what comes back, and what they say of a failure."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from blockdev.core import tools
from blockdev.core.errors import BuildError

SAYS = "echo out; echo error >&2; exit 3"


def test_status_output_and_errors_come_back() -> None:
    assert tools.run(["sh", "-c", SAYS]) == tools.Done(3, b"out\n", b"error\n")
    assert tools.run(["sh", "-c", SAYS], together=True) == tools.Done(3, b"out\nerror\n", b"")


def test_it_reads_what_is_given_and_never_the_callers_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"of a file")
    assert tools.run(["cat"], given=b"given").out == b"given"
    with (tmp_path / "file").open("rb") as file:
        assert tools.run(["cat"], stdin=file).out == b"of a file"
    assert tools.run(["readlink", "/proc/self/fd/0"]).out == b"/dev/null\n"


def test_folder_and_variables(tmp_path: Path) -> None:
    done = tools.run(["sh", "-c", "pwd; echo $SEEN$HOME"], cwd=tmp_path, env={"SEEN": "yes"})
    assert done.out.decode().split() == [str(tmp_path), "yes"]


def test_a_limit_in_time() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        tools.run(["sleep", "60"], seconds=0.1)


def test_programs_of_administrators_are_found_and_missing_ones_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(tools, "_SYSTEM", (str(tmp_path / "sbin"),))
    with pytest.raises(BuildError, match="mke2fs is not installed") as failed:
        tools.run(["mke2fs"])
    assert "e2fsprogs" in failed.value.hint
    (tmp_path / "sbin").mkdir()
    (tmp_path / "sbin/mke2fs").write_text("#!/bin/sh\necho found\n")
    (tmp_path / "sbin/mke2fs").chmod(0o755)
    assert tools.run(["mke2fs"]).out == b"found\n"


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (b"one\n two \n\n", "two"),
        ("a\nb", "b"),
        (b"\xff\n", "\ufffd"),
        (b" \n\n", "it gave no reason"),
        ("", "it gave no reason"),
    ],
)
def test_the_last_line_is_what_went_wrong(said: bytes | str, line: str) -> None:
    assert tools.last_line(said) == line
    assert tools.last_line(b"", "no reason given") == "no reason given"
