"""The first process of a sandbox: it reaps all others, and in the end stops what the stage's own process left running.

A layer holds files and no processes, so nothing lives on to a later stage. What is left has time to end by itself (a
``tee`` that the script wrote through), is then asked to (SIGTERM: daemons write down what they know), then killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence

BY_ITSELF = 0.2  # seconds until what is left running is asked to end
ASKED = 5.0  # seconds from then until it is killed
_PAUSE = 0.005


def reap_until(child: int) -> int:
    """Reap everything until ``child`` has ended; its exit code, negative for the signal that ended it."""
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)


def stop_the_rest(proc: int) -> tuple[str, ...]:
    """Stop all else in the pid namespace of this process, its first one; the names of what had to be asked.

    ``proc`` is a descriptor of the namespace's own /proc.
    """
    if _gone(BY_ITSELF):
        return ()
    names = _running(proc)
    for number in (signal.SIGTERM, signal.SIGCONT):  # a stopped process hears nothing before it goes on
        _signal(number)
    if not _gone(ASKED):
        _signal(signal.SIGKILL)
        _gone(ASKED)
    return names


def sentence(names: Sequence[str]) -> str:
    """A line for the log."""
    return f"dib-ctr: stopped what the script left running, which no layer can keep: {', '.join(names)}\n"


def _gone(seconds: float) -> bool:
    """Reap for so long; whether nothing is left."""
    end = time.monotonic() + seconds
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return True  # whose parents ended are this process's children: there are no others
        if pid == 0:
            if time.monotonic() >= end:
                return False
            time.sleep(_PAUSE)


def _running(proc: int) -> tuple[str, ...]:
    """The names of all other processes."""
    names: list[str] = []
    for pid in sorted(int(name) for name in os.listdir(proc) if name.isdigit()):
        try:
            with open(os.open(f"{pid}/stat", os.O_RDONLY, dir_fd=proc), encoding="utf-8", errors="replace") as file:  # noqa: PTH123
                state = file.read()
        except OSError:  # it has just ended
            continue
        name, _, rest = state.partition("(")[2].rpartition(")")
        if pid != os.getpid() and rest.split()[0] != "Z":
            names.append(name)
    return tuple(dict.fromkeys(names)) or ("?",)


def _signal(number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, number)  # all in the namespace but this process
