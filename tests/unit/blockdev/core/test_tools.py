"""Programs of the system are run in one way: what they read, what comes back, and what they say of a failure."""

from __future__ import annotations

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
    assert tools.run(["cat"], data=b"given").out == b"given"
    with (tmp_path / "file").open("rb") as file:
        assert tools.run(["cat"], stdin=file).out == b"of a file"
    assert tools.run(["readlink", "/proc/self/fd/0"]).out == b"/dev/null\n"


def test_what_it_prints_may_go_to_a_file(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        assert tools.run(["sh", "-c", SAYS], stdout=file) == tools.Done(3, b"", b"error\n")
    assert (tmp_path / "file").read_bytes() == b"out\n"


def test_status_and_output_as_text() -> None:
    done = tools.Done(0, b"a\xff", b"b\xff")
    assert (done.text, done.errors) == ("a\ufffd", "b\ufffd")


def test_output_is_read_as_it_comes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"of a file")
    with (tmp_path / "file").open("rb") as file, tools.output_of(["cat"], stdin=file) as stream:
        assert stream.read(2) == b"of"
        assert stream.read() == b" a file"
    with tools.output_of(["cat"]) as stream:
        assert stream.read() == b"", "nothing is to be read"


def test_what_is_read_of_a_failing_program_is_an_error() -> None:
    with pytest.raises(tools.FailedError, match=r"^error$"), tools.output_of(["sh", "-c", SAYS]) as stream:
        assert stream.read() == b"out\n"
    with pytest.raises(BuildError, match="no-such-program is not installed"), tools.output_of(["no-such-program"]):
        pass


def test_a_program_whose_output_nobody_reads_on_is_ended() -> None:
    with pytest.raises(LookupError), tools.output_of(["yes"]) as stream:
        stream.read(4)
        raise LookupError


def test_folder_and_variables(tmp_path: Path) -> None:
    done = tools.run(["sh", "-c", "pwd; echo $SEEN$HOME"], cwd=tmp_path, env={"SEEN": "yes"})
    assert done.out.decode().split() == [str(tmp_path), "yes"]


def test_a_limit_in_time() -> None:
    with pytest.raises(tools.TimeoutExpired):
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
