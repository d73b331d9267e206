"""What every engine must do with a program in a container, from its request to its end, tried with the real thing."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builder.engines.command_engine import CommandLineEngine
from builder.engines.protocol import Container, Engine, store_volume
from tests.integration.engine_cases import Case
from tests.integration.engine_programs import PYTHON, TAKE, run

GONE = 15.0  # seconds for a container to be gone after its end was asked for


def test_lines_and_exit_status(case: Case) -> None:
    """Lines arrive whole and in order, of any length, and the exit status is the command's."""
    code = "print('first'); print('x' * 300000); print('\\u00e4'); sys.stdout.write('no end'); sys.exit(7)"
    status, lines = case.call(run, case.image, "sys.stdout.reconfigure(encoding='utf-8'); " + code)
    assert status == 7
    assert lines == ["first", "x" * 300000, "\u00e4", "no end"]


def run_with_pieces(engine: Engine, image: str, piece: str, count: int) -> list[str]:
    """Have a build container ask for a piece of a file several times; what it printed of each."""
    lines: list[str] = []

    def on_line(line: str, send: Callable[[str], None] | None) -> None:
        if line == "want" and send:
            send(piece)
        else:
            lines.append(line)

    code = (
        "import hashlib\nfor _ in range(int(sys.argv[1])):\n    print('want', flush=True)\n"
        "    print(hashlib.sha256(sys.stdin.buffer.readline().rstrip()).hexdigest(), flush=True)\n"
    )
    assert engine.run(Container(image, (*PYTHON, TAKE + code, str(count))), b"", on_line) == 0
    return lines


def test_pieces_of_layers_arrive_whole(case: Case) -> None:
    """Lines of four megabytes on the way in, as layers of a cache come."""
    piece = "".join(chr(33 + number % 90) for number in range(4 << 20))
    expected = hashlib.sha256(piece.encode()).hexdigest()
    assert case.call(run_with_pieces, case.image, piece, 5) == [expected] * 5


def test_standard_error_arrives_too(case: Case) -> None:
    """What goes wrong inside is not lost."""
    _, lines = case.call(run, case.image, "print('said on stderr', file=sys.stderr)")
    assert "said on stderr" in lines


def test_request_arrives_whole(case: Case) -> None:
    """A request of some MB, with any bytes, while the container prints more than a pipe holds."""
    request = bytes(range(256)) * 20000
    code = "import hashlib; print('y' * 200000); print(hashlib.sha256(request).hexdigest())"
    status, lines = case.call(_with_request, case.image, code, request)
    assert status == 0
    assert lines[-1] == hashlib.sha256(request).hexdigest()


def _with_request(engine: Engine, image: str, code: str, request: bytes) -> tuple[int, list[str]]:
    return run(engine, image, code, request=request)


def _talk(engine: Engine, image: str) -> list[str]:
    heard: list[str] = []
    code = (
        "print('ask', flush=True)\nprint('got', sys.stdin.readline().strip(), flush=True)\nprint(sys.stdin.readline())"
    )

    def on_line(line: str, send: Callable[[str], None] | None) -> None:
        heard.append(line)
        if line == "ask" and send:
            send("one")
        if line == "got one" and send:
            send("two")

    engine.run(Container(image, (*PYTHON, TAKE + code)), b"hello", on_line)
    return heard


def test_standard_input_stays_open(case: Case) -> None:
    """Lines sent while the container runs arrive there."""
    assert case.call(_talk, case.image)[:3] == ["ask", "got one", "two"]


def _send_much(engine: Engine, image: str) -> list[str]:
    heard: list[str] = []
    code = (
        "import hashlib\nfor number in range(6):\n print('ask', number, flush=True)\n"
        " print(hashlib.sha256(sys.stdin.readline().strip().encode()).hexdigest(), flush=True)"
    )

    def on_line(line: str, send: Callable[[str], None] | None) -> None:
        heard.append(line)
        if line.startswith("ask ") and send:
            send(line[-1] * (1 << 20))

    engine.run(Container(image, (*PYTHON, TAKE + code)), b"hello", on_line)
    return [line for line in heard if not line.startswith("ask ")]


def test_long_lines_arrive_whole(case: Case) -> None:
    """Files that a build asks for travel as lines of a mebibyte (``stages.lock.replay``)."""
    sums = [hashlib.sha256(str(number).encode() * (1 << 20)).hexdigest() for number in range(6)]
    assert case.call(_send_much, case.image) == sums


# -- the end of containers --------------------------------------------------------------------------------------------


def processes_with(token: str) -> list[int]:
    """Processes on this machine that have the token in their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if token.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return found


def is_gone(token: str) -> bool:
    """Have all processes with the token ended (a short while is granted)?"""
    end = time.monotonic() + GONE
    while processes_with(token):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def _containers(engine: Engine) -> list[str]:
    """Names of the engine's containers with this run's store, ended ones too; another run's come and go meanwhile."""
    if isinstance(engine, CommandLineEngine):
        command = [*engine.client]
    elif engine.name == "docker-socket":
        command = ["docker"]
    elif engine.name == "podman-socket":
        command = ["podman", "--remote", "--url", os.environ["CONTAINER_HOST"]]
    else:
        return []
    command += ["ps", "-a", "--filter", f"volume={store_volume()}", "--format", "{{.Names}}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


SLEEP = "print('running', flush=True); import time; time.sleep(600)"


class DeliberateError(Exception):
    """What a test's on_line raises."""


def _interrupted(engine: Engine, image: str, token: str, how: str) -> tuple[str, list[str]]:
    before = set(_containers(engine))

    def on_line(line: str, _: Any) -> None:
        if line != "running":
            return
        if how == "signal":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(30)
        raise DeliberateError

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        engine.run(Container(image, (*PYTHON, TAKE + SLEEP, token)), b"", on_line)
    except (DeliberateError, KeyboardInterrupt) as error:
        return type(error).__name__, sorted(set(_containers(engine)) - before)
    return "no error", []


@pytest.mark.parametrize(("how", "error"), [("signal", "KeyboardInterrupt"), ("exception", "DeliberateError")])
def test_an_end_by_force_leaves_nothing(case: Case, how: str, error: str) -> None:
    """Ctrl-C, or an error of the caller: it goes on, but only after the container is gone."""
    token = uuid.uuid4().hex
    assert case.call(_interrupted, case.image, token, how) == (error, [])
    assert is_gone(token)


READ_TO_THE_END = "print('running', flush=True); sys.stdin.buffer.read()"


def _run_until_killed(engine: Engine, image: str, token: str, code: str) -> None:
    engine.run(Container(image, (*PYTHON, TAKE + code, token)), b"", lambda *_: None)


def _await_inside(token: str) -> None:
    """Until a process that is root inside (not the engine's command) has the token."""
    end = time.monotonic() + GONE
    while not any(Path(f"/proc/{number}/exe").resolve().name.startswith("python3") for number in processes_with(token)):
        assert time.monotonic() < end, "the container did not start"
        time.sleep(0.1)
    time.sleep(0.5)


def test_a_killed_build_leaves_nothing_running(case: Case) -> None:
    """kill -9: what watches its standard input ends; on the host, where no daemon cleans up, everything does."""
    code = SLEEP if case.adapter == "host" else READ_TO_THE_END
    token = uuid.uuid4().hex
    child = case.spawn(_run_until_killed, case.image, token, code)
    _await_inside(token)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert is_gone(token)


def test_the_next_build_removes_what_a_killed_one_left(case: Case) -> None:
    """A container that goes on without its client, and does not heed its standard input either."""
    token = uuid.uuid4().hex
    child = case.spawn(_run_until_killed, case.image, token, SLEEP)
    _await_inside(token)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert case.adapter == "host" or processes_with(token)
    before = case.call(_containers)
    assert case.call(run, case.image, "print('next')") == (0, ["next"])
    assert is_gone(token)
    assert case.adapter == "host" or len(case.call(_containers)) < len(before)
    notes = Path(case.environment["XDG_CACHE_HOME"], "dib-ctr/containers")
    if list(notes.glob("*")):  # of a container that the daemon was about to remove itself: the next run lets go of it
        assert case.call(run, case.image, "print('next')") == (0, ["next"])
    assert not list(notes.glob("*"))
