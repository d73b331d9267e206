"""The command ``cache``."""

from __future__ import annotations

from typing import Any

from stages.agent.work import Work
from stages.protocol import events
from stages.protocol.emit import emit


def cache(work: Work) -> None:
    """The command ``cache``: ``action`` du, ls, prune or verify."""
    arguments = work.request.arguments
    action = arguments.get("action", "du")
    store = work.store
    if action == "ls":
        data: Any = [
            {
                "key": record.key,
                "title": record.title,
                "bytes": record.bytes,
                "created": record.created,
                "seconds": record.seconds,
            }
            for record in store.records()
        ]
    elif action == "prune":
        from stages.layers.prune import prune

        age, size = arguments.get("older_than"), arguments.get("max_bytes")
        data = prune(
            store,
            older_than=float(age) if age else None,
            max_bytes=int(size) if size else None,
            everything=arguments.get("all") == "1",
        )
    elif action == "verify":
        from stages.outputs.verify_store import verify

        wrong, left = verify(store)
        data = {"wrong": wrong, "left over": left}
    else:
        free, total = store.free()
        data = {"usage": store.usage(), "stages": len(store.records()), "free": free, "total": total}
    emit(events.Result(data=data))
