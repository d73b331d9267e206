"""This checkout beside another commit of it, in turns: what a change costs on a machine where other work goes on.

The other commit's figures are the bounds: what comes later should take no longer.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.bench.figures import Bench, Figure, run, spent
from tests.integration.command import stage_scripts, write_element

ROOT = Path(__file__).parents[2]
STAGES = 60
TURNS = 7  # of each checkout, at the least
KINDS = ("seconds", "processor's seconds")


@dataclass(frozen=True)
class Checkout:
    """A checkout that is measured, with state of its own: the host engine's store, podman's volume, its cache."""

    code: Path
    state: Path

    def build(self, elements: Path, engine: str, *arguments: str) -> tuple[float, float]:
        """Build; what it took, and what processors worked for it, in seconds (with podman the command's alone)."""
        # Bytecode lies where it would after an installation.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment |= {"PYTHONPATH": str(self.code), "XDG_CACHE_HOME": str(self.state / "cache")}
        environment["DIB_CTR_STORE"] = str(self.state / "store") if engine == "host" else f"dib-ctr-{self.state.name}"
        options = ["--engine", engine, "--elements-path", str(elements), "--dest", str(self.state / f"out-{engine}")]
        command = [sys.executable, "-m", "builder.cli", "build", *options, "--progress", "json", *arguments]

        def work() -> None:
            done = subprocess.run(command, cwd=self.code, env=environment, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-1000:]}{done.stderr[-1000:]}")

        return spent(work)


def checkout(commit: str, folder: Path) -> Path:
    """The files of a commit, below ``folder``."""
    folder.mkdir()
    archive = folder.with_suffix(".tar")
    run("git", "-C", str(ROOT), "archive", "-o", str(archive), commit)
    run("tar", "-xf", str(archive), "-C", str(folder))
    return folder


def against(bench: Bench, commit: str) -> list[Figure]:
    """A build in which nothing changed, and what a stage costs beside its script, now and at ``commit``."""
    elements = bench.folder / "elements"
    shutil.copytree(ROOT / "tests/elements", elements, dirs_exist_ok=True)
    write_element(elements, "sixty", stage_scripts(range(100, 100 + STAGES), "echo {0} > /tmp/stage-{0}"))
    both = [
        Checkout(ROOT, bench.folder / "bench-this"),
        Checkout(checkout(commit, bench.folder / "other"), bench.folder / "bench-other"),
    ]
    turns = max(TURNS, bench.repeat)
    figures = []
    try:
        for engine in ("host", "podman"):
            taken = [[each.build(elements, engine, "debian-minimal")][:0] for each in both]
            for _ in range(turns):
                for times, each in zip(taken, both, strict=True):
                    times.append(each.build(elements, engine, "debian-minimal"))
            figures += _figures(f"nothing changed, {engine}", commit, taken, turns)
    finally:
        for each in both:
            subprocess.run(["podman", "volume", "rm", "-f", f"dib-ctr-{each.state.name}"], capture_output=True)
    taken = [[] for _ in both]
    for _ in range(turns):
        for times, each in zip(taken, both, strict=True):
            few = each.build(elements, "host", "-o", "tar", "--no-cache", "tiny-os")
            many = each.build(elements, "host", "-o", "tar", "--no-cache", "tiny-os", "sixty")
            times.append(((many[0] - few[0]) / STAGES, (many[1] - few[1]) / STAGES))
    return figures + _figures("a stage, its script included, host", commit, taken, turns)


def _figures(name: str, commit: str, taken: list[list[tuple[float, float]]], turns: int) -> list[Figure]:
    found = []
    for place, kind in enumerate(KINDS):
        ours, theirs = (statistics.median(each[place] for each in times) for times in taken)
        found.append(Figure(f"{name}, {kind}", ours, f"commit {commit[:10]}", theirs, theirs, turns))
    return found
