"""How many processes and how much memory a stage may take: a script that forks without end, or fills the memory, fails.

The kernel bounds the processes: RLIMIT_NPROC, set before the stage's user namespace is made, holds for all of its users
together, and nobody in it may raise it. It counts threads too. Memory has no such bound without control groups, which
not every engine can set: so the stage is looked at while it runs, more often when it has taken much.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PROCESSES, MEMORY = "DIB_CTR_PROCESSES", "DIB_CTR_MEMORY"
MOST_PROCESSES = 8192
SHARE = 90  # percent of the machine's memory
SIZE = re.compile(r"([0-9]+)([KMGT]?)(?:i?B)?", re.IGNORECASE)
SHARE_OF = re.compile(r"([1-9][0-9]?|100)%")
UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
NONE = "none"
SELDOM, OFTEN = 0.5, 0.05  # seconds between looks
RESERVE = 64  # processes of the build itself that count as well
PREFERRED = "800"  # of oom_score_adj: where the machine has no memory left the kernel ends the stage, not others


@dataclass(frozen=True)
class Limits:
    """``processes`` with their threads, ``memory`` in bytes; 0: no bound."""

    processes: int = 0
    memory: int = 0


def parse_processes(text: str) -> int:
    """The number that a setting names ("none": 0); raises ValueError."""
    if text == NONE:
        return 0
    if not re.fullmatch("[0-9]+", text) or not int(text):
        raise ValueError
    return int(text)


def parse_memory(text: str, total: int) -> int:
    """Bytes of a size (8G) or of a share of ``total`` (50%), 0 for "none"; raises ValueError."""
    if text == NONE:
        return 0
    if share := SHARE_OF.fullmatch(text):
        return total * int(share[1]) // 100
    match = SIZE.fullmatch(text)
    if not match or not int(match[1]):
        raise ValueError
    return int(match[1]) << UNITS[match[2].upper()]


def of(environment: Mapping[str, str]) -> Limits:
    """The limits that the settings name, or the usual ones."""
    processes = parse_processes(environment.get(PROCESSES) or str(MOST_PROCESSES))
    return Limits(processes, parse_memory(environment.get(MEMORY) or f"{SHARE}%", total_memory()))


def _meminfo(name: str) -> int:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) << 10
    return 0


def total_memory() -> int:
    """Bytes of memory that there are: the machine's, or what the container's control group has of it."""
    total = _meminfo("MemTotal")
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):
            total = min(total, int(Path(file).read_text(encoding="ascii")))
    return total


def hold(limits: Limits) -> None:
    """Bound this process and all that it starts; before it makes the user namespace that the bound is to hold for."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(PREFERRED, encoding="ascii")
    if limits.processes:
        most = limits.processes + RESERVE
        hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))


@dataclass(frozen=True)
class Use:
    """What one look found: processes with their threads, bytes of memory."""

    processes: int
    memory: int
    pids: tuple[str, ...]


@dataclass
class Watch:
    """Looks at all that runs in process namespaces below this one: a stage's, since a build runs one at a time."""

    limits: Limits
    _before: int = field(default_factory=lambda: _meminfo("Shmem"))
    _next: float = 0.0
    pause: float = SELDOM  # seconds to wait until the next look

    def passed(self) -> str:
        """What the stage has passed, in a sentence, "" where it is within its limits or it is not yet time to look."""
        now = time.monotonic()
        if now < self._next or self.limits == Limits():
            return ""
        use = look()
        memory = use.memory + max(0, _meminfo("Shmem") - self._before)
        bounds = ((use.processes, self.limits.processes), (memory, self.limits.memory))
        much = any(limit and used > limit // 4 for used, limit in bounds)
        self.pause = OFTEN if much else SELDOM
        self._next = now + self.pause
        if self.limits.processes and use.processes >= self.limits.processes:
            return (
                f"the stage has {use.processes} processes and threads, and may have {self.limits.processes}: it was"
                f" ended ({PROCESSES}=NUMBER sets another bound)"
            )
        if self.limits.memory and memory > self.limits.memory and (sure := exactly(use.pids)) > self.limits.memory:
            return (
                f"the stage takes {sure >> 20} MiB of memory, and may take {self.limits.memory >> 20}: it was ended"
                f" ({MEMORY}=SIZE or SHARE% sets another bound)"
            )
        return ""


def look() -> Use:
    """All processes of namespaces below; pages that several have count for each."""
    processes = memory = 0
    pids: list[str] = []
    for name in os.listdir("/proc"):  # noqa: PTH208 (a hundred names twice a second)
        if not name.isdecimal():
            continue
        with contextlib.suppress(OSError, ValueError):  # it has ended
            status = _status(name)
            if len(status.get("NSpid", "").split()) > 1:
                pids.append(name)
                processes += int(status.get("Threads", "1"))
                memory += sum(int(status.get(kind, "0 kB").split()[0]) << 10 for kind in ("RssAnon", "RssShmem"))
    return Use(processes, memory, tuple(pids))


def _status(pid: str) -> dict[str, str]:
    with Path(f"/proc/{pid}/status").open(encoding="utf-8", errors="replace") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def exactly(pids: tuple[str, ...]) -> int:
    """Bytes of memory of these processes, a page that several have once, and of the tmpfs that they see."""
    total = 0
    sizes: dict[int, int] = {}
    for pid in pids:
        with contextlib.suppress(OSError, ValueError):
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
            total += sum(int(line.split()[1]) << 10 for line in rollup.splitlines() if line.startswith("Pss_Anon:"))
            for mount_point in _tmpfs(pid):
                with contextlib.suppress(OSError):
                    state = os.statvfs(mount_point)
                    sizes[Path(mount_point).stat().st_dev] = (state.f_blocks - state.f_bfree) * state.f_frsize
    return total + sum(sizes.values())


def _tmpfs(pid: str) -> list[str]:
    """Where a process sees a tmpfs, as this one can reach it."""
    paths = []
    for line in Path(f"/proc/{pid}/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("tmpfs "):
            path = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), before.split()[4])
            paths.append(f"/proc/{pid}/root{path}")
    return paths
