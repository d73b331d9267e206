"""How the agent reports while it works: events (``stages.protocol.events``), one a line on its standard output."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

from stages.protocol.events import LONGEST_LINE, LONGEST_TEXT, LONGEST_TRACE, Event

# Characters; the host takes no more, so what is longer is cut here.
_CUT = {"what": LONGEST_TEXT, "where": LONGEST_TEXT, "hint": LONGEST_TEXT, "trace": LONGEST_TRACE}
_CUT |= {"text": LONGEST_LINE, "why": LONGEST_LINE}

_lock = threading.Lock()


_redact: list[Callable[[Event], Event]] = []


def redact_with(function: Callable[[Event], Event]) -> None:
    """Have every event from now on go through this function: it takes known secrets out of texts."""
    _redact[:] = [function]


def emit(event: Event) -> None:
    """Write one event to standard output; safe from several threads. Texts that are too long for it are cut."""
    for function in _redact:
        event = function(event)
    long = {name: most for name, most in _CUT.items() if len(getattr(event, name, "")) > most}
    if long:
        event = event.replace(**{name: f"{getattr(event, name)[: most - 4]} ..." for name, most in long.items()})
    line = event.as_json()
    with _lock:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
