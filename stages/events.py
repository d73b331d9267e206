"""What the agent reports while it works: one JSON object a line on its standard output.

``type`` is one of:

==================  =======================================================================================
plan                ``stages``: list of {number, phase, element, script, where, key, hit, why}
start               ``number``: a stage begins to run (it was a miss)
log                 ``number``, ``text``: one line that the stage's script printed
hit                 ``number``, perhaps ``source``: a stage was found in the store, or in the cache of this name
done                ``number``, ``seconds``, ``bytes`` (of its layer): a stage ran and was kept
wait                ``number``: another build is running this stage; this one waits for it
output              ``output`` (type), ``index`` (place in the request), ``key``, ``path`` (in the store), ``changed``
                    (False: the host has it already), ``digest``, ``bytes``; the type "files" is what scripts wrote
                    beside the image
written             every output was reported: a line of JSON answers, with the places of those that the host has now
assemble            ``job``: what the block-device stage needs to make disk images (``stages.disk``)
break               ``session``, ``number``, ``point`` (before, after, error): wants a shell, waits for ``continue``
failed              ``number``, ``status``, ``tail`` (last lines), ``phase``, ``element``, ``script``; where the last
                    lines tell of a bad mirror ``why`` and ``hint``
error               ``what``, ``where``, ``hint``, ``status`` (1 or 2), ``trace`` (for --debug)
want                ``path``, ``offset``: the next piece of a file that the host has offered (``stages.replay``); a
                    line in base64 answers, an empty one where the file ends
                    (or, below ``cache/``, the next piece of a layer; ``!`` answers where it is not to be had)
lookup              ``keys`` of all stages: which of them do the host's caches have; a line of JSON answers:
                    ``offers`` (``stages.offers``) and ``held``, the [key, layer] that need not be sent to them
fetch               ``blobs``: the digests of the layers that will be wanted, in this order
bad                 ``blob``, ``why``: this layer of a cache was refused; its stage runs
packed              ``path`` (in the store) of a folder with one large layer for caches elsewhere, ``entry`` of it
share               ``path`` (in the store) of a folder with all other layers for them (``stages.packing``)
shared              the folder will go now: a line answers when it has been fetched
used                ``used``: what the build used (``stages.lock``)
vendor              ``path`` (in the store) of the folder with the lists and packages that the host does not hold
note                ``text``: something worth a line
result              ``data``: the answer of a command that has one (plan, cache, doctor)
end                 ``seconds``, ``hits``, ``misses``, ``tree`` (key of the finished tree), perhaps ``pruned``: bytes
                    that went from the store, so that it stays within its bounds
==================  =======================================================================================
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

Event = dict[str, Any]

_lock = threading.Lock()


_redact: list[Callable[[Mapping[str, Any]], dict[str, Any]]] = []


def redact_with(function: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
    """Have every event from now on go through this function: it takes known secrets out of texts."""
    _redact[:] = [function]


def emit(type_: str, **fields: Any) -> None:
    """Write one event to standard output; safe from several threads."""
    event = {"type": type_, **fields}
    for function in _redact:
        event = function(event)
    line = json.dumps(event, ensure_ascii=True)
    with _lock:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def parse(line: str) -> Event | None:
    """One line of the agent's standard output as an event, or None where it is not one (engine chatter)."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "type" in event else None
