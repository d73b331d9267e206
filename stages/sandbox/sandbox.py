"""A sandbox for one stage: its own mounts, processes, users and (mostly) network, gone with its last process.

*Outside* stages see the build image's programs read-only, with the tree at ``TARGET_ROOT``; *inside* stages have the
tree as their root. Both see their hooks and package caches. Nothing else is there (see ``stages.sandbox.mounts``).
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable, Mapping, Sequence

from blockdev.core.errors import BuildError
from stages.sandbox import limits, spawner
from stages.sandbox.process import NO_SANDBOX, NOT_SET_UP, Wires, start, wait
from stages.sandbox.seccomp import supervisor as listener
from stages.sandbox.spawner import Running
from stages.sandbox.view import View


def engine_fault(status: int, output: str) -> BuildError | None:
    """What is wrong where a stage ended with ``status`` because the build container lets no stage run; else None."""
    line = next((line for line in output.splitlines() if line.startswith(NOT_SET_UP)), "")
    if status != NO_SANDBOX or not line:
        return None
    what = f"no stage can run in this build container: {line.removeprefix('dib-ctr: ')}"
    return BuildError(what, where="engine", hint="`dib-ctr doctor` tries each engine, and says what mends it")


def run(
    view: View,
    argv: Sequence[str],
    environment: Mapping[str, str],
    on_output: Callable[[bytes], None],
    *,
    stopped: Callable[[], bool] = lambda: False,
    on_mounts: Callable[[bytes], None] | None = None,
    on_answers: Callable[[Mapping[str, int]], None] | None = None,
) -> int:
    """Run ``argv`` in the sandbox to its end and return its exit status (128 + signal number where one ended it).

    ``on_output`` gets standard output and error as they come; ``stopped`` is asked every half second and, once True,
    everything in the sandbox is killed, as it is where it passes its limits (``stages.sandbox.limits``). What the
    sandbox itself cannot set up is reported in the output, with 125. ``on_mounts`` gets the mounts that the stage
    leaves for later ones, ``on_answers`` how many calls of each kind got another answer than the kernel's
    (``stages.sandbox.seccomp.policy.notes`` words them).
    """
    reader, writer = os.pipe()
    report_reader, report = os.pipe()
    sys.stdout.flush()
    try:
        try:
            running = spawner.ready().start(view, argv, environment, writer, report if on_mounts else None)
        finally:
            os.close(writer)
            os.close(report)
        try:
            _read_until_end(reader, running, on_output, stopped)
        except BaseException:
            running.kill()
            raise
        finally:
            status, answers = running.end()
        if on_mounts:
            with open(report_reader, "rb", closefd=False) as mountinfo:
                on_mounts(mountinfo.read())
    finally:
        os.close(reader)
        os.close(report_reader)
    if on_answers and answers:
        on_answers(answers)
    return status


def _read_until_end(
    reader: int, running: Running, on_output: Callable[[bytes], None], stopped: Callable[[], bool]
) -> None:
    watch = limits.Watch(limits.of(os.environ))
    while True:
        ready, _, _ = select.select([reader], [], [], watch.pause)
        passed = watch.passed()
        if passed or stopped():
            running.kill()
            on_output(f"dib-ctr: {passed}\n".encode() if passed else b"")
            return
        if ready:
            data = os.read(reader, 65536)
            if not data:
                return
            on_output(data)
        elif running.has_ended():
            return  # a daemon that kept the pipe is dead with its namespace; nothing more can come


def interact(view: View, argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run ``argv`` in the sandbox on the caller's own terminal; returns its exit status."""
    supervisor = listener.start(2, short=view.short_places) if view.supervised else None
    with open("/proc/self/ns/pid", "rb") as namespace:  # noqa: PTH123 (a descriptor)
        wires = Wires(channel=supervisor.channel if supervisor else None)
        first = start(view, argv, environment, namespace.fileno(), wires)
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the shell in the sandbox handles the keyboard
    try:
        status = wait(first)
    finally:
        signal.signal(signal.SIGINT, previous)
    if supervisor:
        supervisor.end()
    return status
