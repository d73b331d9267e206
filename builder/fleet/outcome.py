"""What became of each image: gathered from its build's events and lines, for the last words and the reports."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder.fleet.image import ImageBuild
from builder.progress.host_events import LogFile, Placed, Pushed, Recorded
from builder.progress.report import stage_title
from stages.protocol import events

BUILT, FAILED, SKIPPED, INTERRUPTED = "built", "failed", "skipped", "interrupted"
KEPT_LINES = 40


@dataclass(frozen=True)
class DeliveredOutput:
    """One output: where it lies, its type, digest and bytes (empty where the build did not say)."""

    place: str
    type: str = ""
    digest: str = ""
    bytes: int = 0
    changed: bool = True


@dataclass(frozen=True)
class Span:
    """A stage or an output and its time in the build: from ``start`` to ``end``, in seconds since the build began.

    ``how`` is ``hit``, ``fetched`` (from the cache named ``source``), ``waited`` (another build ran it), ``ran``,
    ``failed``, ``running`` or ``output``; ``why`` says why it was no hit.
    """

    title: str
    how: str
    start: float
    end: float
    why: str = ""
    source: str = ""
    bytes: int = 0

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start


@dataclass
class Outcome:
    """One image's build, and what is known of it so far. ``started`` and ``seconds`` are over all attempts."""

    image: ImageBuild
    status: str = SKIPPED
    attempts: int = 0
    started: float = 0.0  # seconds since 1970
    seconds: float = 0.0
    log: str = ""
    stages: dict[int, events.PlannedStage] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)  # keys
    hits: int = 0
    waits: int = 0
    pushed: str = ""
    places: list[str] = field(default_factory=list)
    current: str = ""  # what runs now, for a live view
    last: str = ""
    failure: events.Failed | None = None
    error: events.Error | None = None
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    record: str = ""  # the file of what is kept of the build (builder.history)
    clock: Callable[[], float] = time.monotonic
    spans: dict[str, Span] = field(default_factory=dict)  # by a stage's key, in the order of their ends
    _since: float = 0.0  # the clock when the attempt began
    _begun: dict[int, float] = field(default_factory=dict)
    _outputs: dict[int, events.Output] = field(default_factory=dict)

    def begin(self) -> None:
        """Another attempt: what the one before said is forgotten."""
        self.attempts += 1
        self.stages, self.ran, self.hits, self.waits, self._outputs = {}, [], 0, 0, {}
        self.failure = self.error = None
        self.current = self.last = self.log = self.pushed = self.record = ""
        self.spans, self._begun, self._since = {}, {}, self.clock()
        self.places = []
        self.lines.clear()

    def heed(self, event: events.Event) -> None:
        """Take an event of the build."""
        self._time(event)
        match event:
            case LogFile():
                self.log = event.path
            case events.Plan():
                self.stages = {stage.number: stage for stage in event.stages}
                keys = {stage.key for stage in event.stages}
                if not self.ran or not keys.issuperset(self.ran):  # else it goes on, with what a stage has left
                    self.ran, self.hits = [], 0  # planned anew where a mirror moved, or for the next architecture
            case events.Start() | events.Wait():
                title = stage_title(self.stages[event.number])
                more = " (another build runs it)" if isinstance(event, events.Wait) else ""
                self.current = f"[{event.number}/{len(self.stages)}] {title}{more}"
                self.waits += isinstance(event, events.Wait)
            case events.Log():
                self.last = event.text
            case events.Hit():
                self.hits += 1
            case events.Done():
                self.ran.append(self.stages[event.number].key)
            case events.Failed():
                self.failure = event
            case events.Error():
                self.error = event
            case events.Output() if event.index >= 0:
                self._outputs[event.index] = event
            case Placed():
                self.places.append(event.place)
            case Pushed():
                self.pushed = event.reference
            case Recorded():
                self.record = event.path

    def _time(self, event: events.Event) -> None:
        """Note when what happens to a stage, or an output, happened."""
        now = self.clock() - self._since
        if isinstance(event, events.Output) and event.index >= 0:
            start = max((span.end for span in self.spans.values()), default=0.0)
            how = f"output {event.output}" if event.changed else f"output {event.output}, unchanged"
            self.spans[f"output {event.index} {event.key}"] = Span(how, "output", start, now, bytes=event.bytes)
        if not isinstance(event, events.OfStage) or event.number not in self.stages:
            return
        stage = self.stages[event.number]
        start = self._begun.setdefault(event.number, now)
        how, source, size = "running", "", 0
        match event:
            case events.Wait():
                how = "waited"
            case events.Hit():
                waited = stage.key in self.spans and self.spans[stage.key].how == "waited"
                how, source = "waited" if waited else "fetched" if event.source else "hit", event.source
            case events.Done():
                how, start, size = "ran", min(start, now - event.seconds), event.bytes
            case events.Failed():
                how = "failed"
            case events.Log() if stage.key in self.spans:
                return  # thousands of them
        why = "" if how in ("hit", "fetched") else stage.why
        self.spans.pop(stage.key, None)  # those that end later stand below
        self.spans[stage.key] = Span(stage_title(stage), how, max(start, 0.0), now, why, source, size)

    @property
    def misses(self) -> int:
        """How many stages ran."""
        return len(self.ran)

    def outputs(self) -> list[DeliveredOutput]:
        """The outputs that lie at their places."""
        reported = [self._outputs[index] for index in sorted(self._outputs)]
        if len(self.image.arches) <= 1 and len(reported) >= len(self.places):
            return [_delivered(path, event) for path, event in zip(self.places, reported, strict=False)]
        return [DeliveredOutput(path, digest=_digest_of(Path(path))) for path in self.places]

    def why(self) -> str:
        """The text of the failure, for people: what the build said after ``error:``, else its last lines."""
        lines = list(self.lines)
        first = next((at for at, line in enumerate(lines) if line.startswith("error:")), max(0, len(lines) - 10))
        return "\n".join(lines[first:]) or "it said nothing"

    def all_text(self) -> str:
        """All that may tell what kind of failure it was."""
        tail = "\n".join(self.failure.tail) if self.failure else ""
        error = self.error.what if self.error else ""
        return "\n".join([tail, error, self.why()])


def _delivered(path: str, event: events.Output) -> DeliveredOutput:
    return DeliveredOutput(path, event.output, event.digest, event.bytes, event.changed)


def _digest_of(layout: Path) -> str:
    """The digest that a layout's index names; empty for any other file."""
    try:
        index: dict[str, Any] = json.loads((layout / "index.json").read_bytes())
        return str(index["manifests"][0]["digest"])
    except (OSError, ValueError, LookupError):
        return ""
