"""What a killed build leaves of its containers and scratch files, and how the next one finds and removes it.

A container has a note in the caller's cache folder, from before it is made until it is gone, and its client holds a
lock (flock) on the note: the kernel lets go of it with the client, however that ends. So a note that nobody holds is
of a container that nobody waits for. Scratch files and folders are locked in the same way.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from blockdev.core.typed_json import Struct, read
from builder.engines import process
from builder.engines.protocol import PREFIX
from builder.engines.subordinate_ids import root_range
from builder.host_state.probe_results import cache_folder

Remove = Callable[[str], bool]  # removes the container of a name, running or not, and tells whether it is gone


@dataclass
class Life:
    """One container's life; ``ended`` is set where it has ended by itself, and the engine has removed it."""

    name: str
    ended: bool = False


def notes() -> Path:
    """The folder of the notes."""
    return cache_folder() / "containers"


@contextlib.contextmanager
def container(engine: str, name: str, remove: Remove) -> Iterator[Life]:
    """The life of a container of this name, removed afterwards unless it has ended by itself.

    ``engine`` is the engine and where it is: what killed clients left there is removed first.
    """
    sweep(engine, remove)
    life = Life(name)
    with _note(engine, name) as note:
        try:
            yield life
        finally:
            with process.undisturbed():
                if life.ended or remove(name):
                    note.unlink(missing_ok=True)


class _Note(Struct):
    """Where a container is (the engine's place), and its name."""

    place: str
    name: str


@contextlib.contextmanager
def _note(engine: str, name: str) -> Iterator[Path]:
    """A locked note; where none can be written there is none."""
    note = notes() / f"{name}.json"
    handle = None
    with contextlib.suppress(OSError):
        notes().mkdir(exist_ok=True)
        partial = note.with_name(f".{note.name}")
        handle = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)  # before anybody can find it
        os.write(handle, json.dumps(vars(_Note(place=engine, name=name))).encode())
        partial.rename(note)
    try:
        yield note
    finally:
        if handle is not None:
            os.close(handle)


def sweep(engine: str, remove: Remove) -> None:
    """Remove the containers at this place whose clients are gone; costs no call of the engine where there are none."""
    for note in notes().glob("*.json"):
        with contextlib.suppress(OSError, ValueError), _held(note) as handle:
            container = read(_Note, json.loads(os.read(handle, 1 << 16)))
            name = container.name
            if container.place == engine and name.startswith(PREFIX) and remove(name):
                note.unlink(missing_ok=True)


@contextlib.contextmanager
def _held(path: Path) -> Iterator[int]:
    """A file or folder that nobody holds, locked; raises OSError where somebody does."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield handle
    finally:
        os.close(handle)


# -- scratch -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def scratch_file(prefix: str, suffix: str = "", folder: str | None = None) -> Iterator[Path]:
    """A new, empty file in ``folder`` (usually where temporary files are), gone afterwards."""
    _sweep_scratch(prefix, suffix, folder)
    while True:
        handle, name = tempfile.mkstemp(suffix, prefix, folder)
        os.set_inheritable(handle, False)
        if _lock(handle):
            break
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
        os.close(handle)


@contextlib.contextmanager
def scratch_folder(prefix: str, folder: str | None = None) -> Iterator[Path]:
    """The same for a folder, with all in it."""
    _sweep_scratch(prefix, "", folder)
    while True:
        name = tempfile.mkdtemp("", prefix, folder)
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if _lock(handle):
                break
    try:
        yield Path(name)
    finally:
        shutil.rmtree(name, ignore_errors=True)
        os.close(handle)


def _lock(handle: int) -> bool:
    """Lock what was just made; false where somebody took it for left over before that."""
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(handle, fcntl.LOCK_EX)
    if os.fstat(handle).st_nlink:
        return True
    os.close(handle)
    return False


def _sweep_scratch(prefix: str, suffix: str, folder: str | None) -> None:
    ours = {os.geteuid(), *([root_range()[0]] if os.geteuid() == 0 else [])}
    for path in Path(folder or tempfile.gettempdir()).glob(f"{prefix}*{suffix}"):
        with contextlib.suppress(OSError), _held(path) as handle:
            if os.fstat(handle).st_uid not in ours:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
