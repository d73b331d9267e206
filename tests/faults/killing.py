"""Processes of one command, found in /proc, and killed without a warning."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection
from pathlib import Path

WHO = ("all", "builder", "agent")


def _parents() -> dict[int, int]:
    found = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208
        if entry.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                text = Path("/proc", entry, "stat").read_text(errors="replace")
                state, parent = text.rpartition(")")[2].split()[:2]
                if state != "Z":
                    found[int(entry)] = int(parent)
    return found


def descendants(of: int) -> list[int]:
    """All processes below this one, in the order in which they were found."""
    parents, found = _parents(), [of]
    for process in found:
        found += [child for child, parent in parents.items() if parent == process and child not in found]
    return found[1:]


def kill(builder: int, who: str) -> set[int]:
    """Kill -9 the builder, or what it has started, or both; returns all processes that there were."""
    below = descendants(builder)
    for process in ([] if who == "agent" else [builder]) + ([] if who == "builder" else below):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return {builder, *below}


def named(text: str) -> set[int]:
    """Processes that have this text in their command line."""
    found = set()
    for process in _parents():
        with contextlib.suppress(OSError):
            if process != os.getpid() and text.encode() in Path("/proc", str(process), "cmdline").read_bytes():
                found.add(process)
    return found


def left_alive(processes: Collection[int], marked: str, patience: float) -> set[int]:
    """Those of the processes, and those with the text ``marked`` in their command line, that live on for so long."""
    until = time.monotonic() + patience
    while True:
        alive = (set(processes) & set(_parents())) | named(marked)
        if not alive or time.monotonic() > until:
            return alive
        time.sleep(0.02)
