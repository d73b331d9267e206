"""What a person sees of a build: plain lines, a live view on a terminal, or the events themselves.

Formatting is pure (text in, text out); a :class:`Reporter` writes it. Whatever is shown, the log file gets every line
of every stage.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

from blockdev.core.errors import BuildError, UsageError
from builder.host_state.probe_results import cache_folder
from stages.protocol import events
from stages.protocol.events import OfStage

KEPT_LOGS = 20
LOG_BYTES = 1 << 28  # of one build, about
PATIENCE = 10.0  # seconds until a plain log names the stage that is still running


def size(count: int) -> str:
    """A number of bytes as a person reads it (decimal units)."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError


def stage_title(stage: events.PlannedStage | events.Failed) -> str:
    """Phase, element and script of a planned stage."""
    return f"{stage.phase}/{stage.element}/{stage.script}"


def _numbered_title(number: int, stages: Mapping[int, events.PlannedStage]) -> str:
    return f"[{number}/{len(stages)}] {stage_title(stages[number])}"


def _source(event: events.Hit) -> str:
    """Where a hit came from, unless from the store."""
    return f" in {event.source}" if event.source else ""


def plan_table(stages: Sequence[events.PlannedStage]) -> str:
    """The plan as an aligned table, a stage a line."""
    head = ("#", "phase", "element", "script", "where", "key", "", "why")
    rows = [head]
    for stage in stages:
        state = "hit" if stage.hit else "miss"
        rows.append(
            (
                str(stage.number),
                stage.phase,
                stage.element,
                stage.script,
                stage.where,
                stage.key[:12],
                state,
                stage.why,
            )
        )
    return table(rows)


def plan_json(stages: Sequence[events.PlannedStage]) -> str:
    """The plan for machines: a list of its stages, with the fields that an event's have."""
    return json.dumps(stages, indent=1, default=vars)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text as aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def failure(event: events.Failed, log: Path, command: Sequence[str]) -> str:
    """The report of a failed stage: where, its status and last lines, the log, the command that opens a shell there."""
    title = stage_title(event)
    return "\n".join(
        [
            f"error: the stage {title} failed with status {event.status}",
            f"  phase: {event.phase}, element: {event.element}, script: {event.script}",
            *(f"  | {line}" for line in event.tail),
            *([f"  why:   {event.why}"] if event.why else []),
            f"  log:   {log}",
            *([f"  next:  {event.hint}"] if event.hint else []),
            f"  next:  {shlex.join([*command, '--at', title])}",
        ]
    )


def message(error: BuildError) -> str:
    """An error as it is printed."""
    return f"error: {error}"


def closing(end: events.End, outputs: Iterable[events.Output], places: Iterable[str]) -> str:
    """The last lines of a build that succeeded."""
    lines = []
    for output, path in zip(outputs, places, strict=True):
        details = [size(output.bytes), output.digest, *([] if output.changed else ["unchanged"])]
        lines.append(f"{output.output}: {path} ({', '.join(details)})")
    total = end.hits + end.misses
    last = f"{total} stages, {end.hits} from the cache, in {end.seconds:.1f} s"
    if end.pruned:
        last += f"; the store let go of {size(end.pruned)} that no recent build used"
    return "\n".join([*lines, last])


class Reporter(Protocol):
    """Takes the events of one build as they come."""

    def handle(self, event: events.Event) -> None:
        """Show one event."""

    def paused(self) -> contextlib.AbstractContextManager[None]:
        """Leave the terminal to somebody else for a while."""

    def close(self) -> None:
        """Leave the terminal as it was."""


@dataclass
class Json:
    """The events as they are, one a line, on standard output."""

    def handle(self, event: events.Event) -> None:
        """Print the event."""
        print(event.as_json(), flush=True)

    def paused(self) -> contextlib.AbstractContextManager[None]:
        """Nothing to take away."""
        return contextlib.nullcontext()

    def close(self) -> None:
        """Nothing to undo."""


@dataclass
class Plain:
    """A line a stage (two where it takes long), as a log wants it; in GitHub Actions each one's output is a group."""

    out: IO[str] = field(default_factory=lambda: sys.stdout)
    github: bool = field(default_factory=lambda: os.environ.get("GITHUB_ACTIONS") == "true")
    clock: Callable[[], float] = time.monotonic
    _since: float = math.inf
    _stages: dict[int, events.PlannedStage] = field(default_factory=dict)

    def handle(self, event: events.Event) -> None:
        """Print what the event adds."""
        text = self.line(event)
        if text is not None:
            print(text, file=self.out, flush=True)

    def line(self, event: events.Event) -> str | None:
        """The text for one event, or None where it has none."""
        match event:
            case events.Plan():
                self._stages = {stage.number: stage for stage in event.stages}
                hits = sum(1 for stage in event.stages if stage.hit)
                return f"{len(self._stages)} stages, {hits} in the cache"
            case events.Note():
                return event.text
            case events.Log() if self.github:
                return event.text
            case OfStage() if event.number in self._stages:
                return self._stage_line(event)
        return None

    def _stage_line(self, event: OfStage) -> str | None:
        title = _numbered_title(event.number, self._stages)
        match event:
            case events.Hit():
                return f"{title}  cached{_source(event)}"
            case events.Wait():
                return f"{title}  another build runs it, waiting"
            case events.Start():
                self._since = self.clock()
                return f"::group::{title}" if self.github else None
            case events.Log() if self.clock() - self._since > PATIENCE:  # one sign of life of a stage that takes long
                self._since = math.inf
                return f"{title} ..."
            case events.Done():
                done = f"{title}  {event.seconds:.1f} s, {size(event.bytes)}"
                return f"::endgroup::\n{done}" if self.github else done
            case events.Failed():
                failed = f"{title}  failed with status {event.status}"
                return f"::endgroup::\n{failed}" if self.github else failed
        return None

    def paused(self) -> contextlib.AbstractContextManager[None]:
        """Nothing to take away."""
        return contextlib.nullcontext()

    def close(self) -> None:
        """Nothing to undo."""


class Live:
    """On a terminal: the stages that ran, the one that runs with its time and last line, and how far the build is."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive
        from rich.spinner import Spinner

        self._stages: dict[int, events.PlannedStage] = {}
        self._number = 0
        self._since = time.monotonic()
        self._last = ""
        self._spinner = Spinner("dots")  # one for the whole build: a new one would never turn
        self.console = Console(stderr=False, highlight=False)
        self._live = RichLive(get_renderable=self._render, console=self.console, refresh_per_second=10, transient=True)

    def _render(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        if self._number not in self._stages:
            return Text("")
        title = _numbered_title(self._number, self._stages)
        running = f"{title}  {time.monotonic() - self._since:.0f} s"
        width = max(20, self.console.width - 4)
        self._spinner.update(text=Text(running, style="bold"))
        return Group(self._spinner, Text(f"  {self._last[:width]}", style="dim"))

    def handle(self, event: events.Event) -> None:
        """Show one event."""
        self._live.start()  # not before: what fails until then leaves the terminal as it was
        match event:
            case events.Plan():
                self._stages = {stage.number: stage for stage in event.stages}
            case events.Note():
                self.console.print(event.text, markup=False)
            case events.Log():
                self._last = event.text
            case events.Start():
                self._number, self._since, self._last = event.number, time.monotonic(), ""
            case events.Wait():
                self._number, self._since, self._last = event.number, time.monotonic(), "another build runs it, waiting"
            case events.Hit():
                self._line(event.number, f"[green]cached[/green]{_source(event)}")
            case events.Done():
                self._line(event.number, f"{event.seconds:.1f} s, {size(event.bytes)}")
            case events.Failed():
                self._line(event.number, f"[red]failed with status {event.status}[/red]")

    def _line(self, number: int, rest: str) -> None:
        from rich.markup import escape

        self._number = 0
        self.console.print(f"{escape(_numbered_title(number, self._stages))}  {rest}")

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Take the live lines away until the other one is done."""
        self._live.stop()
        try:
            yield
        finally:
            self._live.start()

    def close(self) -> None:
        """Take the live lines away."""
        self._live.stop()


@dataclass
class Quiet:
    """Nothing: what there is to say of a build that succeeds is where its outputs are."""

    def handle(self, event: events.Event) -> None:
        """Show nothing."""

    def paused(self) -> contextlib.AbstractContextManager[None]:
        """Nothing to take away."""
        return contextlib.nullcontext()

    def close(self) -> None:
        """Nothing to undo."""


def reporter(choice: str) -> Reporter:
    """The reporter for ``--progress``: auto is live on a terminal and plain elsewhere."""
    if choice == "json":
        return Json()
    if choice == "quiet":
        return Quiet()
    if choice == "live" or (choice == "auto" and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"):
        return Live()
    return Plain()


def _forget_old_logs(new: Path) -> None:
    """Keep the newest logs beside ``new`` (several builds may do this at once)."""
    ages = []
    for log in new.parent.glob("*.log"):
        with contextlib.suppress(OSError):
            ages.append((log == new, log.stat().st_mtime_ns, log))
    for _, _, old in sorted(ages)[:-KEPT_LOGS]:
        old.unlink(missing_ok=True)


@dataclass
class Log:
    """The full log of one build: every line of every stage, with the time since the start in seconds."""

    path: Path
    _file: IO[str]
    _titles: dict[int, str] = field(default_factory=dict)
    _start: float = field(default_factory=time.monotonic)
    _left: int = LOG_BYTES

    @classmethod
    def open(cls, wish: Path | None, name: str) -> Log:
        """Open the file of ``--log``, or a new one among the newest logs; raises UsageError where it cannot be."""
        path = wish or cache_folder() / "logs" / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("w", encoding="utf-8", buffering=1)  # by lines: people follow it
        except OSError as error:
            raise UsageError(f"the log {path} cannot be written: {error.strerror}", hint="--log FILE") from error
        if wish is None:
            _forget_old_logs(path)
        return cls(path.absolute(), file)

    def handle(self, event: events.Event) -> None:
        """Write what the event says."""
        text = self.text(event)
        if text is not None:
            self.line(text)

    def text(self, event: events.Event) -> str | None:
        """The line for one event, or None where it has none."""
        match event:
            case events.Plan():
                self._titles = {stage.number: stage_title(stage) for stage in event.stages}
                return None
            case events.Log():
                return f"{time.monotonic() - self._start:8.2f} {self._titles.get(event.number, '')} {event.text}"
            case events.Error():
                return "\n".join(part for part in (event.what, event.where, event.trace) if part)
            case events.Note():
                return event.text
        title = self._titles.get(event.number, "") if isinstance(event, OfStage) else ""
        return f"== {event.kind} {title}".rstrip()

    def line(self, text: str) -> None:
        """A line of its own, such as the engine's chatter. A log that cannot be written stops no build."""
        if self._left <= 0:
            return
        self._left -= len(text) + 1
        if self._left <= 0:
            text = f"== the log has {LOG_BYTES >> 20} MiB: the rest is left out"
        with contextlib.suppress(OSError):
            self._file.write(f"{text}\n")

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):
            self._file.close()
