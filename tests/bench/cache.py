"""What a cache elsewhere costs and saves: a 40-stage image, empty stores, a registry on the same host."""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace
from pathlib import Path

from tests.bench.figures import Bench, Figure
from tests.integration.command import Command, stage_scripts, write_element
from tests.integration.registry import registry

OWN = 13  # stages of debian-minimal
STAGES = 40


def cache(bench: Bench) -> list[Figure]:
    """A cold build, the same with its layers sent to an empty cache, and a second store where nothing has changed."""
    write_element(bench.folder / "elements", "many", stage_scripts(range(100, 100 + STAGES - OWN)))
    numbers = itertools.count(1)
    last: list[Command] = []

    def machine() -> None:
        """Another machine: an empty store, and nothing at its destination."""
        for old in last:
            old("cache", "prune", "--all")
        name = f"machine-{next(numbers)}"
        last[:] = [replace(bench.command("host"), store=bench.folder / name, destination=bench.folder / f"{name}-out")]

    def build(*options: str) -> None:
        last[0].build(*options, "debian-minimal", "many")

    with registry(Path(bench.folder) / "registry") as running:

        def place(name: str) -> str:
            return f"type=registry,ref={running.host}/bench/{name}:x,insecure=true"

        def build_and_send() -> None:
            build("--cache-to", place(f"sent-{next(numbers)}"))

        alone = bench.median(build, machine)
        sent = bench.median(build_and_send, machine)
        machine()
        build("--cache-to", place("full"))
        second = bench.median(functools.partial(build, "--cache-from", place("full")), machine)
        write_element(bench.folder / "elements", "many", stage_scripts([999]))
        machine()
        one_more = bench.median(functools.partial(build, "--cache-from", place("full")), machine)
    peer, runs = "the same, cold and alone", bench.repeat
    return [
        Figure(f"second machine, nothing changed, {STAGES} stages", second, peer, alone, 0.20 * alone, runs),
        Figure("cold, and sent to a cache", sent, peer, alone, 1.15 * alone, runs),
        Figure("second machine, one script more at the end", one_more, peer, alone, alone, runs),
    ]
