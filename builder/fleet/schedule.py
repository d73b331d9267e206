"""Which builds may run now: within processors and memory, and those that wait for another one's stage do not count.

Builds of images that share a stage meet at the store's lock of its key: one runs it, the others wait and take its
layer. A build that waits so fills no processor, so that another one may begin in its place.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from builder.fleet.image import ImageBuild
from stages.protocol import events

CROWD = 3  # so many times as many builds as may run may be there at all, with those that wait
# What failures say that another try may mend: names that do not resolve, connections that break, servers that are busy.
_NETWORK = re.compile(
    r"temporary failure (in name resolution|resolving)|could ?n[o']t resolve|name or service not known"
    r"|could not connect|cannot initiate the connection|connection (failed|refused|reset|timed out|closed|aborted)"
    r"|network is unreachable|no route to host|operation timed out|i/o timeout|read timed out|timeout was reached"
    r"|tls handshake|unexpected eof|error reading from server|unable to connect|failed to fetch|hash sum mismatch"
    r"|bad gateway|service unavailable|gateway time-?out|too many requests|\b(429|50[0234])\b.*\b(http|error|status)"
    r"|\b(http|error|status)\b[^\n]*\b(429|50[0234])\b|repositories keep moving|mirror sync in progress",
    re.IGNORECASE,
)


def is_network(text: str) -> bool:
    """Does a failure's text speak of a network that may work the next time."""
    return bool(_NETWORK.search(text))


def at_a_time(processors: int, memory: int) -> int:
    """How many builds may run together: one a processor, and 1 GiB of the free memory (bytes) for each."""
    return max(1, min(processors, memory >> 30))


def free_memory() -> int:
    """Bytes of memory that the kernel could give."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class Limits:
    """Processors that builds may fill together, and memory in MiB that they may take."""

    cpus: int
    memory: int


def limits(jobs: int | None) -> Limits:
    """The limits of this machine; with ``jobs`` so many builds whatever the memory."""
    if jobs:
        return Limits(jobs, 1 << 40)
    free = free_memory()
    return Limits(at_a_time(processors(), free), free >> 20)


@dataclass
class Schedule:
    """What waits for its turn, in order, and what runs; times are those of a steady clock, in seconds."""

    limits: Limits
    waiting: list[tuple[float, ImageBuild]] = field(default_factory=list)  # not before this time
    running: dict[str, ImageBuild] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)  # those of them that wait for another build's stage

    def add(self, images: Sequence[ImageBuild]) -> None:
        """Put images at the end of the queue."""
        self.waiting += [(0.0, image) for image in images]

    def put_back(self, image: ImageBuild, not_before: float) -> None:
        """Put an image that failed before all others, for when its time has come."""
        self.waiting.insert(0, (not_before, image))

    def _cpus(self) -> int:
        return sum(image.needs.cpus for name, image in self.running.items() if name not in self.held)

    def _fits(self, image: ImageBuild) -> bool:
        if not self.running:
            return True  # whatever it needs, it will not get more
        memory = sum(running.needs.memory for running in self.running.values())
        return (
            len(self.running) < CROWD * self.limits.cpus
            and self._cpus() + image.needs.cpus <= self.limits.cpus
            and memory + image.needs.memory <= self.limits.memory
        )

    def next(self, now: float) -> ImageBuild | None:
        """The first image that may begin now; it counts as running from then on."""
        for at, (not_before, image) in enumerate(self.waiting):
            if not_before <= now and self._fits(image):
                del self.waiting[at]
                self.running[image.name] = image
                return image
        return None

    def pause(self, now: float) -> float | None:
        """Seconds until a queued image's time comes; None where none waits for a time."""
        times = [not_before - now for not_before, _ in self.waiting if not_before > now]
        return min(times) if times else None

    def heed(self, name: str, event: events.Event) -> None:
        """An event of a build that runs: does it wait for another one's stage."""
        if isinstance(event, events.Wait):
            self.held.add(name)
        elif isinstance(event, events.Start | events.Hit | events.Output | events.Failed | events.End):
            self.held.discard(name)

    def end(self, name: str) -> None:
        """A build has ended."""
        del self.running[name]
        self.held.discard(name)
