"""How much a store holds, as builds and cleanings have noted it."""

from __future__ import annotations

import contextlib
import json
import time

from blockdev.core.boot_id import boot_id
from blockdev.core.typed_json import Struct, read
from stages.layers.store import Store

FILE = "size.json"
COUNTED = 86400.0  # seconds for which a count of the store is believed


class SizeNote(Struct):
    """The bytes that a store held when it was ``counted`` (seconds since 1970), with what was added since."""

    bytes: int
    counted: float
    boot: str


def note(store: Store, held: int) -> None:
    """The store was counted."""
    _write(store, SizeNote(bytes=held, counted=time.time(), boot=boot_id()))


def _write(store: Store, size: SizeNote) -> None:
    with contextlib.suppress(OSError):  # it may be full
        store.write(store.root / FILE, json.dumps(vars(size)))


def _read(store: Store) -> SizeNote | None:
    """What was noted; None where that is too old, or cannot be read."""
    try:
        size = read(SizeNote, json.loads((store.root / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None
    return size if abs(time.time() - size.counted) < COUNTED else None


def grow(store: Store, added: int) -> int | None:
    """So many bytes were added to the store; what it holds by now, None where it was not counted lately."""
    with store.lock("size"):
        size = _read(store)
        if size is None:
            return None
        size = size.replace(bytes=size.bytes + added)
        _write(store, size)
    return size.bytes
