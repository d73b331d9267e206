"""What a benchmark measures with: rows of a table, medians, and peers' commands."""

from __future__ import annotations

import resource
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.integration.command import Command


@dataclass(frozen=True)
class Figure:
    """One row: what was measured, our median, the peer's, and the bound it should keep (all in seconds)."""

    name: str
    seconds: float
    peer: str
    peer_seconds: float
    bound: float
    runs: int


@dataclass(frozen=True)
class Bench:
    """Where things lie and how often each is measured."""

    folder: Path
    repeat: int

    def command(self, engine: str) -> Command:
        """A command with a store of its own for the host engine; podman's store is emptied first."""
        return Command(
            engine,
            self.folder / f"store-{engine}",
            self.folder / f"out-{engine}",
            (self.folder / "elements", Path(__file__).parents[1] / "elements"),
        )

    def median(self, action: Callable[[], object], before: Callable[[], object] = lambda: None) -> float:
        """The median duration of ``action`` in seconds; ``before`` is run each time and not counted."""
        durations = []
        for _ in range(self.repeat):
            before()
            started = time.monotonic()
            action()
            durations.append(time.monotonic() - started)
        return statistics.median(durations)


def spent(action: Callable[[], object]) -> tuple[float, float]:
    """How long an action takes, and how long processors work for the processes that it starts; both in seconds."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    action()
    seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run(*argv: str, cwd: Path | None = None) -> str:
    """Run a peer's command to the end; fails with its output."""
    done = subprocess.run(argv, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(argv)} failed:\n{done.stdout[-2000:]}")
    return done.stdout
