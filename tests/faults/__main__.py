"""Kill -9 at random instants, and what a build makes of it afterwards.

``python -m tests.faults [--kills N] [--seed N] [--engine NAME] [--jobs N] [--folder DIR]``. Each round starts a command
of one phase, kills it (all of it, the builder alone, or all but the builder) at an instant within the time that it
takes, and then builds: the outputs must be those of a store that never saw a kill, and nothing may be left over. Ends
with 1 where not.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.killing import WHO, kill, left_alive
from tests.faults.world import DISK, QUIET, VARIANTS, World

PATIENCE = 60.0  # seconds for what was left alive to end by itself: the machine may be busy
PRUNE_EVERY = 8  # rounds
PHASES = ("building", "exporting", "disk writing", "cache sending", "pruning")


@dataclass
class Phase:
    """What was seen of one phase: how long it takes (seconds), and what went wrong."""

    durations: list[float] = field(default_factory=list)
    kills: int = 0
    finished: int = 0  # were done before the kill came
    wrong: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)

    def instant(self, chance: random.Random) -> float:
        """An instant within what the phase takes; some kills come a little late."""
        return chance.uniform(0.0, 1.05 * statistics.median(self.durations[-9:]))


Right = dict[tuple[str, int], dict[str, str]]  # digests of files, by phase and variant


@dataclass
class Run:
    """Rounds of kills in one world."""

    world: World
    chance: random.Random
    phases: dict[str, Phase]
    right: Right = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)  # leftovers count once

    def outputs(self, phase: str) -> tuple[str, ...]:
        """What a build of this phase is asked for."""
        if phase == "disk writing":
            return (*DISK, "-o", "tar")
        if phase == "cache sending":
            return ("-o", "tar", "--cache-to", f"type=dir,path={self.world.root / 'shared'}")
        return (
            ("-o", "tar") if phase == "building" else ("-o", "tar", "-o", "oci", "-o", "oci-archive", "-o", "squashfs")
        )

    def build(self, phase: str, variant: int) -> tuple[str, ...]:
        """The command of a build."""
        return ("build", *QUIET, "--set", f"DIB_VARIANT={variant}", *self.outputs(phase), "victim-os")

    def prepare(self) -> tuple[Right, dict[str, float]]:
        """What is right, from a store that never saw a kill; and how many seconds each phase takes."""
        for phase in PHASES:
            for variant in range(VARIANTS):
                if variant == 0:
                    self.forget(phase)
                self.world.clean_destination()
                begun = time.monotonic()
                status, said = self.world.run(*self.build(phase, variant))
                assert status == 0, said
                self.phases[phase].durations.append(time.monotonic() - begun)
                self.right[phase, variant] = self.world.digests()
        begun = time.monotonic()
        self.world.run("cache", "prune", "--max-size", "1M")
        self.phases["pruning"].durations = [time.monotonic() - begun]
        return self.right, {name: phase.durations[0] for name, phase in self.phases.items()}

    def forget(self, phase: str) -> None:
        """Have a phase's work done anew."""
        if phase in ("building", "cache sending"):
            self.world.remove_store()
            shutil.rmtree(self.world.root / "shared", ignore_errors=True)

    def round(self, number: int) -> None:
        """One kill and what follows."""
        name = PHASES[number % len(PHASES)]
        variant, who, phase = self.chance.randrange(VARIANTS), self.chance.choice(WHO), self.phases[name]
        if self.chance.random() < 0.5:
            self.forget(name)
        if self.chance.random() < 0.8:
            self.world.clean_destination()
        command = self.build(name, variant)
        if name == "pruning":
            size = self.chance.choice(("0", "300K", "1M"))
            command = ("cache", "prune", "--max-size", size)
        instant = phase.instant(self.chance)
        beside = self.world.start(*self.build("exporting", variant)) if name == "pruning" else None
        begun = time.monotonic()
        process = self.world.start(*command)
        try:
            process.wait(instant)
            phase.finished += 1
            if process.returncode == 0:
                phase.durations.append(time.monotonic() - begun)
        except subprocess.TimeoutExpired:
            phase.kills += 1
            there = kill(process.pid, who)
            process.wait()
            where = f"round {number}, {name}, {who} killed after {instant:.3f} s"
            if beside is not None and beside.wait() != 0:
                phase.wrong.append(f"{where}: the build beside failed: {self.said()}")
            alive = left_alive(there, str(self.world.root / "store"), PATIENCE)
            phase.leftovers += [f"{where}: process {pid}" for pid in alive]
            self.follow(phase, name, variant, where)
        else:
            if beside is not None:
                beside.wait()

    def said(self) -> str:
        """The end of what a command said."""
        return (self.world.root / "said").read_text(errors="replace")[-600:]

    def follow(self, phase: Phase, name: str, variant: int, where: str) -> None:
        """The build after a kill, and what is left."""
        begun = time.monotonic()
        status, said = self.world.run(*self.build(name, variant))
        if name != "pruning":
            phase.durations.append(time.monotonic() - begun)
        if status != 0:
            phase.wrong.append(f"{where}: status {status}: {said[-600:]}")
            return
        found = self.world.digests()
        if any(found.get(path) != digest for path, digest in self.right[name, variant].items()):
            phase.wrong.append(f"{where}: other digests")
        left = [path for path in self.world.leftovers() if path not in self.seen]
        self.seen.update(left)
        phase.leftovers += [f"{where}: {path}" for path in left]
        if phase.kills % PRUNE_EVERY == 0 and self.world.engine == "host":
            status, said = self.world.run("cache", "prune")
            unnamed = self.world.unnamed_layers()
            phase.leftovers += [f"{where}: layer {name}" for name in unnamed]
            if status != 0 or self.world.run("cache", "verify")[0] != 0:
                phase.wrong.append(f"{where}: the store is not sound: {said}{self.said()}")


def measure(folder: str, engine: str) -> tuple[Right, dict[str, float]]:
    """What is right, and how long each phase takes (seconds)."""
    world = World(Path(folder) / "clean", engine)
    run = Run(world, random.Random(0), {name: Phase() for name in PHASES})
    try:
        return run.prepare()
    finally:
        world.remove()


def work(folder: str, engine: str, seed: int, kills: int, known: tuple[Right, dict[str, float]]) -> dict[str, Phase]:
    """So many kills in a world of their own."""
    phases = {name: Phase([known[1][name]]) for name in PHASES}
    run = Run(World(Path(folder) / f"world-{seed}", engine), random.Random(seed), phases, known[0])
    try:
        number, told = 0, set[str]()
        while sum(phase.kills for phase in phases.values()) < kills:
            run.round(number)
            number += 1
            done = sum(phase.kills for phase in phases.values())
            bad = sum(len(phase.wrong) + len(phase.leftovers) for phase in phases.values())
            last = [text for each in phases.values() for text in (*each.wrong, *each.leftovers) if text not in told]
            print(f"seed {seed}: {done} of {kills} kills, {bad} faults", *last, sep="\n  ", file=sys.stderr, flush=True)
            told.update(last)
    finally:
        run.world.remove()
    return phases


def report(found: Sequence[dict[str, Phase]]) -> int:
    """Print the table and what went wrong; the number of faults."""
    print(f"{'phase':<16}{'kills':>7}{'wrong':>7}{'leftovers':>11}{'seconds':>9}")
    total: Counter[str] = Counter()
    for name in PHASES:
        phases = [each[name] for each in found]
        kills = sum(phase.kills for phase in phases)
        wrong = [text for phase in phases for text in phase.wrong]
        left = [text for phase in phases for text in phase.leftovers]
        seconds = statistics.median(length for phase in phases for length in phase.durations)
        print(f"{name:<16}{kills:>7}{len(wrong):>7}{len(left):>11}{seconds:>9.1f}")
        total.update(kills=kills, wrong=len(wrong), left=len(left))
        for text in (*wrong, *left):
            print(f"  {text}", file=sys.stderr)
    print(f"{'all':<16}{total['kills']:>7}{total['wrong']:>7}{total['left']:>11}")
    return total["wrong"] + total["left"]


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 20))
    parser.add_argument("--engine", default="host")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", default="/var/tmp")
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="dib-ctr-faults-", dir=options.folder)
    Path(folder).chmod(0o755)
    share = -(-options.kills // options.jobs)
    try:
        known = measure(folder, options.engine)
        tasks = [(folder, options.engine, options.seed + number, share, known) for number in range(options.jobs)]
        with multiprocessing.Pool(options.jobs) as pool:
            found = pool.starmap(work, tasks)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"seed {options.seed}, engine {options.engine}")
    return int(report(found) > 0)


if __name__ == "__main__":
    sys.exit(main())
