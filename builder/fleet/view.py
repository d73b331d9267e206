"""What a person sees of many builds at once: lines with the image's name before them, one live view, or the events."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from builder.fleet.outcome import BUILT, Outcome
from builder.fleet.run import View
from builder.progress.host_events import Begin, Ended
from stages.protocol.events import Event


def ending(outcome: Outcome, retry_in: float | None) -> str:
    """How a build ended, in a line."""
    took = f"in {outcome.seconds:.1f} s"
    if outcome.status == BUILT:
        stages = f"{outcome.hits + outcome.misses} stages, {outcome.hits} from the cache, " if outcome.stages else ""
        return f"built, {stages}{took}"
    if retry_in is not None:
        return f"failed {took}, tried again in {retry_in:.0f} s"
    return f"failed {took}"


def summary(outcomes: Sequence[Outcome], seconds: float) -> str:
    """The last line: how many images became what, and what they shared."""
    counts = {
        status: sum(outcome.status == status for outcome in outcomes) for status in ("built", "failed", "skipped")
    }
    words = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    ran = [key for outcome in outcomes for key in outcome.ran]
    hits = sum(outcome.hits for outcome in outcomes)
    plural = "" if len(outcomes) == 1 else "s"
    return f"{len(outcomes)} image{plural}: {words}; {len(ran)} stages ran, {hits} from the cache, in {seconds:.1f} s"


@dataclass
class Prefixed:
    """Every line of every build, with the image's name before it: for logs."""

    out: IO[str] = field(default_factory=lambda: sys.stdout)

    def begin(self, outcome: Outcome) -> None:
        """See View."""

    def event(self, outcome: Outcome, event: Event) -> None:
        """See View."""

    def line(self, outcome: Outcome, line: str) -> None:
        """See View."""
        print(f"{outcome.image.name}: {line}", file=self.out, flush=True)

    def end(self, outcome: Outcome, retry_in: float | None) -> None:
        """See View."""
        self.line(outcome, ending(outcome, retry_in))

    def close(self) -> None:
        """See View."""


@dataclass
class Json:
    """Every event as it is, with the image's name, one a line."""

    def begin(self, outcome: Outcome) -> None:
        """See View."""
        self._print(outcome, Begin(attempt=outcome.attempts))

    def event(self, outcome: Outcome, event: Event) -> None:
        """See View."""
        self._print(outcome, event)

    def line(self, outcome: Outcome, line: str) -> None:
        """See View."""

    def end(self, outcome: Outcome, retry_in: float | None) -> None:
        """See View."""
        self._print(outcome, Ended(status=outcome.status, again=retry_in))

    @staticmethod
    def _print(outcome: Outcome, event: Event) -> None:
        print(event.as_json(image=outcome.image.name), flush=True)

    def close(self) -> None:
        """See View."""


@dataclass
class Quiet:
    """The places of the outputs, one a line; of an image that failed, why."""

    def begin(self, outcome: Outcome) -> None:
        """See View."""

    def event(self, outcome: Outcome, event: Event) -> None:
        """See View."""

    def line(self, outcome: Outcome, line: str) -> None:
        """See View."""

    def end(self, outcome: Outcome, retry_in: float | None) -> None:
        """See View."""
        if outcome.status == BUILT:
            for output in outcome.outputs():
                print(output.place, flush=True)
        elif retry_in is None:
            print("\n".join(f"{outcome.image.name}: {line}" for line in outcome.why().splitlines()), file=sys.stderr)

    def close(self) -> None:
        """See View."""


class Live:
    """On a terminal: the images that are done, and of those that run the stage, its time and last line."""

    def __init__(self, total: int, console: Any = None) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self._total = total
        self._done = 0
        self._running: dict[str, Outcome] = {}
        self._since: dict[str, tuple[str, float]] = {}  # what runs, and since when
        self.console = console or Console(highlight=False)
        self._live = RichLive(get_renderable=self.render, console=self.console, refresh_per_second=8, transient=True)

    def render(self) -> Any:
        """What is shown now."""
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, show_header=False, pad_edge=False)
        width = max(20, self.console.width - 4)
        for name, outcome in list(self._running.items()):
            what, since = self._since.get(name, ("", time.monotonic()))
            line = f"{name}  {what or 'begins'}  {time.monotonic() - since:.0f} s"
            table.add_row(Text(line[:width], style="bold"))
            table.add_row(Text(f"  {outcome.last}"[:width], style="dim"))
        table.add_row(Text(f"{self._done} of {self._total} images done, {len(self._running)} run"))
        return table

    def begin(self, outcome: Outcome) -> None:
        """See View."""
        self._live.start()
        self._running[outcome.image.name] = outcome

    def event(self, outcome: Outcome, event: Event) -> None:
        """See View."""
        name = outcome.image.name
        if self._since.get(name, ("", 0.0))[0] != outcome.current:
            self._since[name] = (outcome.current, time.monotonic())

    def line(self, outcome: Outcome, line: str) -> None:
        """See View."""

    def end(self, outcome: Outcome, retry_in: float | None) -> None:
        """See View."""
        from rich.text import Text

        self._running.pop(outcome.image.name, None)
        self._since.pop(outcome.image.name, None)
        self._done += retry_in is None
        style = "green" if outcome.status == BUILT else "red"
        self.console.print(Text.assemble((f"{outcome.image.name}", style), f"  {ending(outcome, retry_in)}"))
        for output in outcome.outputs() if outcome.status == BUILT else ():
            self.console.print(Text(f"  {output.place} {output.digest}"))
        if outcome.status != BUILT:
            self.console.print(Text("\n".join(f"  {line}" for line in outcome.why().splitlines())))

    def close(self) -> None:
        """See View."""
        self._live.stop()


def view_of(choice: str, total: int) -> View:
    """The view for ``--progress``: auto is live on a terminal and lines elsewhere."""
    if choice == "json":
        return Json()
    if choice == "quiet":
        return Quiet()
    if choice == "live" or (choice == "auto" and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"):
        return Live(total)
    return Prefixed()
