"""Output without an end: each byte is looked at once, lines and logs are bounded; a closed pipe is no fault."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from blockdev.core.errors import BuildError
from builder.engines import process
from builder.engines.protocol import Send
from builder.progress import report
from builder.progress.report import Log
from stages.layers import stage_output
from stages.layers.stage_output import LONGEST, Lines

ROOT = Path(__file__).parents[4]
BLOCK = b"x" * 65536


def texts(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()]


def test_lines_of_a_stage(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(1)
    for data in (b"on", b"e\ntwo\r\n10%\r20%\r", b"30%\nthr", b"ee\n\n", b"r\xc3", b"\xa4st\r", b"\nno end"):
        lines.add(data)
    lines.end()
    assert texts(capsys) == ["one", "two", "30%", "three", "", "r\u00e4st", "no end"]
    assert list(lines.tail)[-2:] == ["r\u00e4st", "no end"]


def test_a_note_of_a_script_is_told_beside_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(1)
    lines.add(b"dib-ctr note: it ended well, but\nnote: of a compiler\n")
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(event["type"], event["text"]) for event in found] == [
        ("note", "it ended well, but"),
        ("log", "dib-ctr note: it ended well, but"),
        ("log", "note: of a compiler"),
    ]
    lines.add(b"dib-ctr note: again\n" * 100)
    assert sum('"note"' in line for line in capsys.readouterr().out.splitlines()) == stage_output.MOST_NOTES - 1


def test_a_stage_without_a_line_end_takes_no_longer_and_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """(Quadratic it would take an hour.)"""
    passed: list[int] = []
    monkeypatch.setattr(stage_output, "emit", lambda event: passed.append(len(event.text)))
    lines, since = Lines(1), time.process_time()
    for _ in range((200 << 20) // len(BLOCK)):
        lines.add(BLOCK)
        assert len(lines._begun) <= LONGEST
    lines.end()
    assert time.process_time() - since < 20
    assert sum(passed) == 200 << 20
    assert max(passed) == LONGEST
    assert {len(text) for text in lines.tail} == {stage_output.KEPT_OF_LINE}


def test_what_a_stage_prints_is_bounded(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_output, "MOST", 3 * LONGEST)
    lines = Lines(1)
    lines.add(b"y" * 10 * LONGEST + b"\nthe end\n")
    lines.end()
    said = texts(capsys)
    assert [len(text) for text in said[:2]] == [LONGEST, LONGEST]
    assert said[2].endswith("what it prints from here on is left out")
    assert len(said) == 3
    assert lines.tail[-1] == "the end"  # the report of a failure has the last lines all the same


def test_a_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "LOG_BYTES", 1 << 20)
    log = Log.open(tmp_path / "log", "x")
    log._left = 1 << 20
    for _ in range(100):
        log.line("z" * 50000)
    log.close()
    assert (tmp_path / "log").stat().st_size < (1 << 20) + 100
    assert (tmp_path / "log").read_text().endswith("the log has 1 MiB: the rest is left out\n")


def test_an_event_without_an_end_ends_the_build() -> None:
    lines, since = process.Lines(), time.process_time()
    with pytest.raises(BuildError, match="a line of more than 64 MiB"):
        for _ in range(2048):
            assert lines.cut(BLOCK) == []
    assert time.process_time() - since < 20


def test_noise_without_an_end_goes_on_in_pieces() -> None:
    lines = process.Lines(1000, whole=False)
    found = [line for _ in range(100) for line in lines.cut(BLOCK)] + lines.cut(b"a\nb") + lines.cut(b"")
    assert {len(line) for line in found[:-2]} == {1000}
    assert "".join(found) == "x" * 100 * len(BLOCK) + "ab"


def follow(code: str) -> list[str]:
    """What is read of a program's output, its standard error marked."""
    heard: list[str] = []

    def on_line(line: str, send: Send | None) -> None:
        heard.append(line if send else f"noise: {line}")

    process.converse([sys.executable, "-c", code], b"", on_line, subprocess.Popen.kill)
    return heard


def test_standard_error_is_never_an_event() -> None:
    event = '{"type": "note", "text": "x"}'
    assert sorted(follow(f"import sys; print('{event}'); print('{event}', file=sys.stderr)")) == [
        "noise: " + event,
        event,
    ]


def test_much_noise_from_a_program_comes_in_pieces() -> None:
    code = "import sys\nfor _ in range(600): sys.stderr.write('n' * 100000)"
    heard = [len(line) for line in follow(code)]
    assert max(heard) <= process.LONGEST_NOISE + len("noise: ")
    assert sum(heard) == 60_000_000 + len("noise: ") * len(heard)


# -- closed pipes ---------------------------------------------------------------------------------------------------

COMMANDS = ["elements", "build --help", "elements --check debian-minimal"]


def closed(command: str, redirections: str = "", **variables: str) -> tuple[int, str]:
    """A command whose output goes to a pipe that nobody reads from: its status, what standard error got."""
    read, write = os.pipe()
    os.close(read)
    words = f"exec {sys.executable} -m builder.cli {command} {redirections}"
    done = subprocess.run(
        ["bash", "-c", words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=write,
        stderr=write if "2>&1" in redirections else subprocess.PIPE,
        env={**os.environ, **variables},
        check=False,
        text=True,
        errors="replace",
    )
    os.close(write)
    return done.returncode, done.stderr or ""


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("redirections", ["", "2>&1"])
def test_a_closed_pipe_is_told_as_shells_expect(command: str, redirections: str) -> None:
    assert closed(command, redirections) == (141, "")


@pytest.mark.parametrize("redirections", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed_from_the_start(redirections: str, tmp_path: Path) -> None:
    status, errors = closed("elements --check debian-minimal", f"{redirections} ", XDG_CACHE_HOME=str(tmp_path))
    assert (status, errors) in ((0, ""), (141, ""))
    status, errors = closed("elements no-such", redirections)
    assert status == 2
    assert "Traceback" not in errors
