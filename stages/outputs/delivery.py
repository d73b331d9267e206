"""Outputs on their way to the host: they stay until it has them, and then they go, for it has a copy of its own."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field

from blockdev.core.typed_json import read
from stages.layers.store import Store
from stages.protocol import events
from stages.protocol.control import Control
from stages.protocol.emit import emit


@dataclass
class Sent:
    """What one build has reported for the host to fetch: ``outputs`` are keys by their place in the request.

    ``helpers`` are the keys of outputs that were made for others only.
    """

    outputs: dict[int, str] = field(default_factory=dict)
    helpers: set[str] = field(default_factory=set)


def deliver(store: Store, control: Control, sent: Sent) -> None:
    """Wait until the host has what was sent, and let go of what it keeps; the rest it will fetch a little later.

    Raises StoppedError where the host is gone.
    """
    arrived: set[str] = set()
    if sent.outputs:
        emit(events.Written())
        with contextlib.suppress(ValueError):
            numbers = read(tuple[int, ...], json.loads(control.line()))
            arrived = {sent.outputs[number] for number in numbers if number in sent.outputs}
    rest = set(sent.outputs.values()) - arrived
    if rest:
        store.lend(*(f"outputs/{key}" for key in rest))
    if gone := (arrived | sent.helpers) - rest:
        from stages.layers.prune import let_go

        let_go(store, [f"outputs/{key}" for key in gone])
