"""What this side tells of a build beside what its container tells: where its log, its outputs and its image are.

Each is an event like those of ``stages.protocol.events``; who follows builds (``builder.fleet``) reads both kinds.
"""

import json

from blockdev.core.typed_json import reader
from stages.protocol.events import KINDS, Event


class LogFile(Event, kind="log-file"):
    """The build's log is being written to this file."""

    path: str


class Placed(Event, kind="placed"):
    """An output lies at its place."""

    place: str


class Pushed(Event, kind="pushed"):
    """The image is in a registry: the reference with its digest."""

    reference: str


class Recorded(Event, kind="recorded"):
    """What is kept of the build for ``dib-ctr history`` lies in this file."""

    path: str


class Begin(Event, kind="begin"):
    """Of many builds one begins, the first time or again."""

    attempt: int


class Ended(Event, kind="ended"):
    """Of many builds one has ended; it begins ``again`` in so many seconds, or not any more."""

    status: str
    again: float | None


_KINDS = {**KINDS, **{each.kind: each for each in (LogFile, Placed, Pushed, Recorded)}}


def read_event(line: str) -> Event:
    """An event that another build of ours told (``builder.progress.event_channel``); ValueError for anything else."""
    data = json.loads(line)
    kind = _KINDS.get(data.pop("type", "")) if isinstance(data, dict) else None
    if kind is None:
        raise ValueError("no event")
    event: Event = reader(kind)(data)
    return event
