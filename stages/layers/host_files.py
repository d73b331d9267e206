"""Files of the user's machine that are too big to travel with every request: sent when a stage needs one."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

from blockdev.core.errors import BuildError
from stages.layers.store import Store
from stages.protocol import events
from stages.protocol.control import REFUSED, Control
from stages.protocol.emit import emit
from stages.protocol.request import OFFERED

FOLDER = "given"  # in the store's cache: files by their digest


def pieces(control: Control, path: str) -> Iterator[bytes]:
    """A file that the host has offered, in pieces that it sends one by one; raises StoppedError where it goes away."""
    offset = 0
    while True:
        emit(events.Want(path=path, offset=offset))
        answer = control.line()
        if answer == REFUSED.encode():
            raise BuildError(f"the file {path} cannot be read any more", hint="it was there when the build began")
        data = base64.b64decode(answer)
        if not data:
            return
        offset += len(data)
        yield data


def bring(digest: str, store: Store, control: Control) -> Path:
    """The given file of this digest, from the store's cache or the host."""
    kept = store.root / "cache" / FOLDER / digest
    store.pin(f"cache/{FOLDER}/{digest}")
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with store.workplace() as workplace:
            file = workplace.path / "given"
            computed = hashlib.sha256()
            with file.open("wb") as out:
                for data in pieces(control, f"{OFFERED}{digest}"):
                    computed.update(data)
                    out.write(data)
            if computed.hexdigest() != digest:
                raise BuildError("a file of this machine has changed while it was read", hint="build again")
            file.rename(kept)
    return kept
