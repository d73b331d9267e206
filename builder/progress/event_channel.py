"""What a build tells another process: its events, one JSON text a line, on the descriptor that a variable names.

``dib-ctr build -f`` starts a build of its own for each image and follows it so, whatever that build shows of itself.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

from builder.progress.report import Reporter
from stages.protocol.events import Event

VARIABLE = "DIB_CTR_EVENTS"  # the number of a descriptor that is open for writing
_UNTOLD = ("want", "used", "vendor")  # between a build and its container alone


def tell(event: Event) -> None:
    """Tell one event, where somebody listens; one who has gone stops no build."""
    number = os.environ.get(VARIABLE, "")
    if number.isdecimal() and event.kind not in _UNTOLD:
        with contextlib.suppress(OSError):
            data = event.as_json().encode() + b"\n"
            while data:
                data = data[os.write(int(number), data) :]


@dataclass
class EventForwarder:
    """A reporter that shows events as another one does, and tells them too."""

    shown: Reporter

    def handle(self, event: Event) -> None:
        """Show and tell one event."""
        tell(event)
        self.shown.handle(event)

    def paused(self) -> contextlib.AbstractContextManager[None]:
        """As the other one."""
        return self.shown.paused()

    def close(self) -> None:
        """As the other one."""
        self.shown.close()


def forward_events(shown: Reporter) -> Reporter:
    """The reporter itself, or one that tells too, where somebody listens."""
    return EventForwarder(shown) if os.environ.get(VARIABLE, "").isdecimal() else shown
