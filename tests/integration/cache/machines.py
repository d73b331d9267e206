"""Machines that share a cache and nothing else: each a command with a store and a destination of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from builder.remote_cache.index import IndexEntry, read_index
from tests.integration.command import ELEMENTS, Command, Outcome
from tests.integration.registry import Running

STAGES = ["10-copy-shell", "prepare-tree", "50-greet", "seal-tree"]  # of tiny-os and greeting
FIRST = ("-o", "oci", "--no-documents", "tiny-os", "greeting")


@dataclass
class Machines:
    """Commands with a store and a destination of their own, as on machines of their own."""

    place: Path
    number: int = 0

    def __call__(self) -> Command:
        self.number += 1
        elements = (self.place / "elements", ELEMENTS)
        return Command("host", self.place / f"store-{self.number}", self.place / f"out-{self.number}", elements)


def at(running: Running | str, name: str) -> str:
    """A cache in a registry, as an option."""
    host = running if isinstance(running, str) else running.host
    return f"type=registry,ref={host}/cache/{name}:x,insecure=true"


def warnings(outcome: Outcome) -> list[str]:
    return [line for line in outcome.stderr.splitlines() if line.startswith("warning: the cache")]


def listed(folder: Path) -> list[IndexEntry]:
    return read_index((folder / "index.json").read_bytes())
