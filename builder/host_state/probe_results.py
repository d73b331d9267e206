"""What probes have found, kept between runs, so that a build asks an engine nothing but to run its container."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blockdev.core.typed_json import Struct, read

FORMAT = 2  # raise it when what is kept changes its meaning


def cache_folder() -> Path:
    """Where this user's small files go, closed to all others: $XDG_CACHE_HOME/dib-ctr."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "dib-ctr"
    _close(folder)
    return folder


@functools.cache
def _close(folder: Path) -> None:
    """Make the folder, or close it where an earlier version left it open: logs and fetched files are nobody else's."""
    with contextlib.suppress(OSError):  # what is written there says more
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_mode & 0o077:
            folder.chmod(0o700)


def _file() -> Path:
    return cache_folder() / "engines.json"


@contextlib.contextmanager
def exclusive(file: Path) -> Iterator[None]:
    """While ``file`` is read and written anew nobody else does: what two builds remember at once is kept of both.

    Raises OSError where nothing can be written beside it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def stamp(*paths: str | Path) -> str:
    """The user, the kernel and the state (size, time of change) of files and programs, in one string."""
    parts = [f"{FORMAT} uid={os.getuid()} kernel={os.uname().release}"]
    for path in paths:
        try:
            state = Path(path).stat()
        except OSError:
            continue
        parts.append(f"{path}={state.st_size}:{state.st_mtime_ns}")
    return " ".join(parts)


def _load() -> dict[str, Any]:
    try:
        data = json.loads(_file().read_text())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


class _Kept(Struct):
    """What is remembered under one name; it counts as long as the stamp is the same."""

    stamp: str
    data: Any


def recall(name: str, valid: str) -> Any | None:
    """What was remembered under ``name``, if it was so at the same stamp; else None."""
    try:
        kept = read(_Kept, _load().get(name))
    except ValueError:
        return None
    return kept.data if kept.stamp == valid else None


def remember(name: str, valid: str, data: Any) -> None:
    """Keep ``data`` (JSON) under ``name``; where nothing can be written the next run finds out again."""
    with contextlib.suppress(OSError), exclusive(_file()):
        _store({**_load(), name: vars(_Kept(stamp=valid, data=data))})


def forget(name: str) -> None:
    """Keep nothing under ``name`` any more."""
    with contextlib.suppress(OSError), exclusive(_file()):
        kept = _load()
        if kept.pop(name, None) is not None:
            _store(kept)


def _store(data: dict[str, Any]) -> None:
    new = _file().with_suffix(".new")  # nobody else writes it
    new.write_text(json.dumps(data), encoding="utf-8")
    new.replace(_file())
