"""Which build images this user's builds have used and when, so that those of old recipes go.

Only what was noted here is ever removed: an image of somebody else's, in an engine that several people share, is never
touched, nor is one that a container has.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from blockdev.core.atomic_file import write_file
from blockdev.core.typed_json import read
from builder.host_state.probe_results import cache_folder, exclusive

if TYPE_CHECKING:
    from builder.engines.protocol import Engine

OURS = "localhost/dib-ctr-build-"  # how the names of build images begin
UNUSED = 30 * 86400.0  # seconds: an image that no build has used for so long goes
_NOTED = 86400.0  # seconds: a use is noted once a day


def _file() -> Path:
    return cache_folder() / "images.json"


def _read() -> dict[str, dict[str, float]]:
    try:
        return read(dict[str, dict[str, float]], json.loads(_file().read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _change(change: Callable[[dict[str, dict[str, float]]], object]) -> None:
    """Change what is noted; where nothing can be written it stays."""
    with contextlib.suppress(OSError), exclusive(_file()):
        data = _read()
        change(data)
        write_file(_file(), json.dumps(data, indent=1, sort_keys=True))


def note_use(engine: str, reference: str) -> None:
    """A build runs in this image of the engine."""
    if time.time() - _read().get(engine, {}).get(reference, 0.0) > _NOTED:
        _change(lambda data: data.setdefault(engine, {}).update({reference: time.time()}))


def prune(engine: Engine, keep: Collection[str], older_than: float = UNUSED) -> list[str]:
    """Remove the engine's build images that no build of this user's has used for so many seconds; their names.

    Those of today's recipes (``keep``) stay, and one that a container has.
    """
    used = {name: last for name, last in _read().get(engine.name, {}).items() if name.startswith(OURS)}
    old = [name for name, last in used.items() if name not in keep and time.time() - last > older_than]
    gone = [name for name in old if engine.let_go_of_image(name)]
    if gone:
        _change(lambda data: [data.get(engine.name, {}).pop(name, None) for name in gone])
    return gone
