"""What running builds need of a store, so that it can be cleaned beside them.

A build has a file in ``pins/`` that it holds locked, with a name a line: ``layers/<id>``, ``keys/<key>``,
``outputs/<key>``, ``sessions/<name>``. It writes a name there before it looks whether the thing is there; a cleaner
reads all of them before it takes anything away. Both happen within the *gate* (a shared lock there, an exclusive one
here), held for as long as it takes to read or rename: neither ever waits for work of the other.

What another container will fetch or mount after the build has ended is *lent*: a file with an end in it, which counts
until then or until the other one has taken it over.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from blockdev.core import locks
from blockdev.core.boot_id import boot_id

FOLDER = "pins"
GATE = "gate"  # in ``pins/``: its file stays
LENT = "lent-"
LEASE = 600.0  # seconds between two containers of one build


def _now() -> float:
    """Seconds since the boot, suspended or not: nobody sets this clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@contextlib.contextmanager
def gate(root: Path, *, cleaning: bool = False) -> Iterator[None]:
    """Within the gate of the store at ``root``: builds together, a cleaner alone."""
    handle = os.open(root / FOLDER / GATE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if cleaning else fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


class Pins:
    """The names that one running build has pinned."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.name = secrets.token_hex(6)
        self._path = root / FOLDER / self.name
        self._lent: list[str] = []
        handle = locks.take(self._path)
        assert handle is not None  # it waits
        self._handle = handle
        self._names: set[str] = set()
        self._writing = threading.Lock()

    def add(self, names: Iterable[str]) -> None:
        """Pin these; within the gate."""
        with self._writing:
            new = [name for name in dict.fromkeys(names) if name not in self._names]
            if new:
                os.write(self._handle, "".join(f"{name}\n" for name in new).encode())
                self._names.update(new)

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def lend(self, names: Iterable[str]) -> str:
        """Keep these for a while after the build, for who comes then; returns the name to give to ``take_over``."""
        self._lent.extend(names)
        return self.name

    def close(self) -> None:
        """The build has ended."""
        if self._lent:
            text = "\n".join((boot_id(), str(_now() + LEASE), *self._lent))
            with contextlib.suppress(OSError), gate(self._root):  # nobody reads half of it
                (self._root / FOLDER / f"{LENT}{self.name}").write_text(f"{text}\n", encoding="utf-8")
        locks.give_up(self._path, self._handle)


def take_over(root: Path, name: str) -> None:
    """What was lent under this name is pinned by its taker now."""
    if name.isalnum():
        (root / FOLDER / f"{LENT}{name}").unlink(missing_ok=True)


def pinned(root: Path, mine: Pins | None = None) -> set[str]:
    """All names that builds need (but for those of ``mine``); within the gate. Files of dead builds go."""
    names: set[str] = set()
    for path in (root / FOLDER).iterdir():
        if path.name == GATE or (mine is not None and path == mine._path):  # noqa: SLF001 - this module's own
            continue
        with contextlib.suppress(FileNotFoundError):
            lines = path.read_text(encoding="utf-8").splitlines()
            if path.name.startswith(LENT):
                if _has_lapsed(lines):
                    path.unlink(missing_ok=True)
                else:
                    names.update(lines[2:])
            elif not locks.sweep(path):
                names.update(lines)
    return names


def _has_lapsed(lines: list[str]) -> bool:
    try:
        return lines[0] != boot_id() or float(lines[1]) < _now()
    except (IndexError, ValueError):
        return True  # its writer was killed
