"""How much a store holds, as builds and cleanings have noted it."""

from __future__ import annotations

import contextlib
import json
import time

from blockdev.core.boot_id import boot_id
from stages.layers.store import Store

FILE = "size.json"


COUNTED = 86400.0  # seconds for which a count of the store is believed


def note(store: Store, held: int) -> None:
    """The store was counted."""
    with contextlib.suppress(OSError):  # it may be full
        store.write(store.root / FILE, json.dumps({"bytes": held, "counted": time.time(), "boot": boot_id()}))


def _noted(store: Store) -> int | None:
    try:
        data = json.loads((store.root / FILE).read_text(encoding="utf-8"))
        return int(data["bytes"]) if abs(time.time() - data["counted"]) < COUNTED else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _grow(store: Store, added: int) -> int | None:
    with store.lock("size"):
        held = _noted(store)
        if held is not None:
            data = json.loads((store.root / FILE).read_text(encoding="utf-8"))
            with contextlib.suppress(OSError):
                store.write(store.root / FILE, json.dumps({**data, "bytes": held + added}))
    return None if held is None else held + added
