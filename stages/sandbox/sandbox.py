"""A sandbox for one stage: its own mounts, processes, users and (mostly) network, gone with its last process.

*Outside* stages see the build image's programs read-only, with the tree at ``TARGET_ROOT``; *inside* stages have the
tree as their root. Both see their hooks and package caches. Nothing else is there (see ``stages.sandbox.mounts``).
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from stages import syscalls
from stages.errors import BuildError
from stages.keptmounts import KeptMount, kept_mounts
from stages.sandbox import limits
from stages.sandbox.process import spawn
from stages.sandbox.view import View
from stages.supervise import listener

NOT_SET_UP = "dib-ctr: the sandbox could not be set up"  # in the output, where no script of anybody's has run
NO_SANDBOX = 125  # the exit status that goes with it


def engine_fault(status: int, said: str) -> BuildError | None:
    """What is wrong where a stage ended with ``status`` because the build container lets no stage run; else None."""
    line = next((line for line in said.splitlines() if line.startswith(NOT_SET_UP)), "")
    if status != NO_SANDBOX or not line:
        return None
    what = f"no stage can run in this build container: {line.removeprefix('dib-ctr: ')}"
    return BuildError(what, where="engine", hint="`dib-ctr doctor` tries each engine, and says what mends it")


@contextmanager
def _null_input() -> Iterator[int]:
    handle = os.open("/dev/null", os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


def run(
    view: View,
    argv: Sequence[str],
    environment: Mapping[str, str],
    on_output: Callable[[bytes], None],
    *,
    stopped: Callable[[], bool] = lambda: False,
    on_mounts: Callable[[list[KeptMount]], None] | None = None,
    on_answers: Callable[[Mapping[str, int]], None] | None = None,
) -> int:
    """Run ``argv`` in the sandbox to its end and return its exit status (128 + signal number where one ended it).

    ``on_output`` gets standard output and error as they come; ``stopped`` is asked every half second and, once True,
    everything in the sandbox is killed, as it is where it passes its limits (``stages.sandbox.limits``). What the
    sandbox itself cannot set up is reported in the output, with 125. ``on_mounts`` gets the mounts that the stage
    leaves for later ones, ``on_answers`` how many calls of each kind got another answer than the kernel's
    (``stages.supervise.answers.notes`` words them).
    """
    reader, writer = os.pipe()
    sys.stdout.flush()
    supervisor = listener.start(writer, short=view.short_places) if view.supervised else None
    report_reader, report = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            syscalls.die_with_parent()
            os.setsid()
            with _null_input() as null:
                os.dup2(null, 0)
            os.dup2(writer, 1)
            os.dup2(writer, 2)
            # Both are copied before a number that one of them may have is given away.
            report, talk = fcntl.fcntl(report, fcntl.F_DUPFD_CLOEXEC, 10), None
            if supervisor:
                talk = fcntl.fcntl(supervisor.channel, fcntl.F_DUPFD_CLOEXEC, 10)
                os.dup2(talk, 4, inheritable=False)
            os.dup2(report, 3, inheritable=False)
            os.closerange(5 if supervisor else 4, 256)
            channel = socket.socket(fileno=4) if supervisor else None
            limits.hold(limits.of(os.environ))
            spawn(view, argv, environment, 3 if on_mounts else None, channel)
        except BaseException as error:  # noqa: BLE001 - whatever it is, this child must not go on as the agent
            os.write(2, f"{NOT_SET_UP}: {error}\n".encode())
        os._exit(NO_SANDBOX)
    os.close(writer)
    os.close(report)
    try:
        _read_until_end(reader, child, on_output, stopped)
        if on_mounts:
            with open(report_reader, "rb", closefd=False) as mountinfo:
                on_mounts(kept_mounts(mountinfo.read()))
    finally:
        os.close(reader)
        os.close(report_reader)
    _, status = os.waitpid(child, 0)
    if supervisor:
        given = supervisor.end()
        if on_answers and given:
            on_answers(given)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _read_until_end(reader: int, child: int, on_output: Callable[[bytes], None], stopped: Callable[[], bool]) -> None:
    watch = limits.Watch(limits.of(os.environ))
    while True:
        ready, _, _ = select.select([reader], [], [], watch.pause)
        passed = watch.passed()
        if passed or stopped():
            os.kill(child, signal.SIGKILL)
            on_output(f"dib-ctr: {passed}\n".encode() if passed else b"")
            return
        if ready:
            data = os.read(reader, 65536)
            if not data:
                return
            on_output(data)
        elif os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return  # a daemon that kept the pipe is dead with its namespace; nothing more can come


def interact(view: View, argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run ``argv`` in the sandbox on the caller's own terminal; returns its exit status."""
    supervisor = listener.start(2, short=view.short_places) if view.supervised else None
    child = os.fork()
    if child == 0:
        try:
            syscalls.die_with_parent()
            limits.hold(limits.of(os.environ))
            spawn(view, argv, environment, channel=supervisor.channel if supervisor else None)
        except BaseException as error:  # noqa: BLE001 - as in run()
            os.write(2, f"{NOT_SET_UP}: {error}\n".encode())
        os._exit(NO_SANDBOX)
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the shell in the sandbox handles the keyboard
    try:
        _, status = os.waitpid(child, 0)
    finally:
        signal.signal(signal.SIGINT, previous)
    if supervisor:
        supervisor.end()
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
