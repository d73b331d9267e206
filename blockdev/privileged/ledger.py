"""What a run holds of the kernel's things, written down before it takes them, so that another run can give them back.

A ledger is a file of one JSON object a line. The first line says whose it is (boot, process, namespace), each other one
what is about to be taken. The file is locked (flock(2)) as long as its run lives, and gone when the run gave all back.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blockdev.core import typed_json
from blockdev.core.boot_id import boot_id

SUFFIX = ".ledger"


@dataclass(frozen=True)
class HeldImage:
    """An image file that is being made; ``device`` and ``inode`` as in stat(2)."""

    path: str
    device: int
    inode: int


@dataclass(frozen=True)
class Loop:
    """The loop device ``number`` over ``size`` bytes of ``image`` from byte ``offset`` on."""

    number: int
    image: HeldImage
    offset: int
    size: int


@dataclass(frozen=True)
class Mounts:
    """Everything that is mounted at and below ``folder``, which is the run's own."""

    folder: str


@dataclass(frozen=True)
class Mapping:
    """An opened encrypted container: its ``name`` with the device mapper."""

    name: str


@dataclass(frozen=True)
class Group:
    """An active volume group, and the device files of its physical volumes."""

    name: str
    devices: tuple[str, ...]


Entry = HeldImage | Loop | Mounts | Mapping | Group
_KINDS: dict[str, type[Any]] = {kind.__name__.lower(): kind for kind in (HeldImage, Loop, Mounts, Mapping, Group)}


@dataclass(frozen=True)
class Owner:
    """Whose a ledger is: ``started`` in clock ticks since the boot, ``namespace`` that of its pid."""

    boot: str
    pid: int
    started: int
    namespace: str

    @property
    def alive(self) -> bool:
        """Does it run, as far as one can see from here (a process of another pid namespace is not to be seen)."""
        if self.boot != boot_id() or self.namespace != _pid_namespace():
            return False
        return _started(self.pid) == self.started


@dataclass
class Ledger:
    """The open ledger of this run; ``token`` is a name that no other run has."""

    path: Path
    token: str
    entries: list[Entry] = field(default_factory=list)
    _file: int = -1

    def add(self, entry: Entry) -> None:
        """Write down what is about to be taken. One write(2): after a kill there is a whole line or none."""
        kind = type(entry).__name__.lower()
        os.write(self._file, json.dumps({"kind": kind, **dataclasses.asdict(entry)}).encode() + b"\n")
        self.entries.append(entry)

    def close(self, *, remove: bool) -> None:
        """Let go of it; ``remove`` where all was given back."""
        if remove:
            self.path.unlink(missing_ok=True)
        os.close(self._file)


def open_ledger(folder: Path) -> Ledger:
    """A new ledger of this process in ``folder``, which is made if it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(8)
    fresh, path = folder / f".{token}.new", folder / f"{token}{SUFFIX}"
    file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
    fcntl.flock(file, fcntl.LOCK_EX)
    owner = Owner(boot_id(), os.getpid(), _started(os.getpid()) or 0, _pid_namespace())
    os.write(file, json.dumps(dataclasses.asdict(owner)).encode() + b"\n")
    fresh.rename(path)  # only now others see it, locked and with its owner
    return Ledger(path, token, [], file)


@contextmanager
def abandoned(path: Path) -> Iterator[tuple[Owner | None, tuple[Entry, ...]] | None]:
    """The owner and entries of a ledger whose run is dead, locked meanwhile; None where the run may live.

    The owner is None where the file cannot be read: the machine lost power, and all devices with it.
    """
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        yield _dead(file, path)
    finally:
        os.close(file)


def _dead(file: int, path: Path) -> tuple[Owner | None, tuple[Entry, ...]] | None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        text = path.read_text(encoding="utf-8")
    except (BlockingIOError, FileNotFoundError):  # it lives, or another run was here first
        return None
    try:
        owner, entries = read(text)
    except ValueError:
        return None, ()
    return None if owner is not None and owner.alive else (owner, entries)


def read(text: str) -> tuple[Owner | None, tuple[Entry, ...]]:
    """A ledger's owner and entries. A last line that is not whole says nothing: what it names was not taken yet.

    ValueError: this is no ledger.
    """
    lines = text.split("\n")[:-1]
    if not lines:
        return None, ()
    return typed_json.read(Owner, json.loads(lines[0])), tuple(_entry(json.loads(line)) for line in lines[1:])


def _entry(data: Any) -> Entry:
    kind = _KINDS.get(str(data.pop("kind", ""))) if isinstance(data, dict) else None
    if kind is None:
        raise ValueError("no entry of a ledger")
    entry: Entry = typed_json.read(kind, data)
    return entry


def _pid_namespace() -> str:
    return str(Path("/proc/self/ns/pid").readlink())


def _started(pid: int) -> int | None:
    """When a process started (proc(5), field 22 of ``stat``); None where there is none, or just its remains."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in {"Z", "X"} else int(rest[18])
