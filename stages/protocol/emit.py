"""What the agent reports while it works: one JSON object a line on its standard output.

``type`` is one of these; ``stages.protocol.events`` has the types and sizes of their fields:

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
assemble            ``job``: what the block-device stage needs to make disk images (``stages.outputs.disk.job``)
break               ``session``, ``number``, ``point`` (before, after, error): wants a shell, waits for ``continue``
failed              ``number``, ``status``, ``tail`` (last lines), ``phase``, ``element``, ``script``; where the last
                    lines tell of a bad mirror ``why`` and ``hint``
error               ``what``, ``where``, ``hint``, ``status`` (1 or 2), ``trace`` (for --debug)
want                ``path``, ``offset``: the next piece of a file that the host has offered (``stages.lock.replay``); a
                    line in base64 answers, an empty one where the file ends
                    (or, below ``cache/``, the next piece of a layer; ``!`` answers where it is not to be had)
lookup              ``keys`` of all stages: which of them do the host's caches have; a line of JSON answers:
                    ``offers`` (``stages.remote_cache.offers``) and ``held``, the [key, layer] that need not be sent to
                    them
fetch               ``blobs``: the digests of the layers that will be wanted, in this order
bad                 ``blob``, ``why``: this layer of a cache was refused; its stage runs
packed              ``path`` (in the store) of a folder with one large layer for caches elsewhere, ``entry`` of it
share               ``path`` (in the store) of a folder with all other layers (``stages.remote_cache.exporter``)
shared              the folder will go now: a line answers when it has been fetched
used                ``used``: what the build used (``stages.protocol.lock_record``)
vendor              ``path`` (in the store) of the folder with the lists and packages that the host does not hold
note                ``text``: something worth a line
result              ``data``: the answer of a command that has one (plan, cache, doctor)
bytecode            ``path``, ``data`` (base64): bytecode that a new Python made (``stages.agent.bootstrap``)
compiled            ``magic``: that was all bytecode, and it is for the Python with this number
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

# Characters; the host takes no more (``stages.protocol.events``), so what is longer is cut here.
LONGEST_LINE = 1 << 16  # of a stage's output
LONGEST_TEXT = 1 << 17
LONGEST_TRACE = 1 << 19
MOST_TAIL = 100  # lines
_CUT = {"what": LONGEST_TEXT, "where": LONGEST_TEXT, "hint": LONGEST_TEXT, "trace": LONGEST_TRACE}
_CUT |= {"text": LONGEST_LINE, "why": LONGEST_LINE}

_lock = threading.Lock()


_redact: list[Callable[[Mapping[str, Any]], dict[str, Any]]] = []


def redact_with(function: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
    """Have every event from now on go through this function: it takes known secrets out of texts."""
    _redact[:] = [function]


def emit(type_: str, **fields: Any) -> None:
    """Write one event to standard output; safe from several threads. Texts that are too long for it are cut."""
    event = {"type": type_, **fields}
    for function in _redact:
        event = function(event)
    for name, most in _CUT.items():
        if len(event.get(name, "")) > most:
            event[name] = f"{event[name][: most - 4]} ..."
    line = json.dumps(event, ensure_ascii=True)
    with _lock:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
