"""What probes have found, kept between runs, so that a build asks an engine nothing but to run its container."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

FORMAT = 2  # raise it when what is kept changes its meaning


def cache_folder() -> Path:
    """Where this user's small files go: $XDG_CACHE_HOME/dib-ctr."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "dib-ctr"


def _file() -> Path:
    return cache_folder() / "engines.json"


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


def recall(name: str, valid: str) -> Any | None:
    """What was remembered under ``name``, if it was so at the same stamp; else None."""
    kept = _load().get(name)
    if isinstance(kept, dict) and kept.get("stamp") == valid:
        return kept.get("data")
    return None


def remember(name: str, valid: str, data: Any) -> None:
    """Keep ``data`` (JSON) under ``name``; where nothing can be written the next run finds out again."""
    _store({**_load(), name: {"stamp": valid, "data": data}})


def forget(name: str) -> None:
    """Keep nothing under ``name`` any more."""
    kept = _load()
    if kept.pop(name, None) is not None:
        _store(kept)


def _store(data: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=folder, prefix="engines", delete=False) as new:
            json.dump(data, new)
        Path(new.name).replace(_file())
