"""Building many images side by side, each in a process of its own (it tells: ``builder.progress.event_channel``)."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from builder.fleet.image import ImageBuild
from builder.fleet.outcome import BUILT, FAILED, INTERRUPTED, Outcome
from builder.fleet.schedule import Limits, Schedule, is_network
from builder.fleet.variables import apart
from builder.host_state.environment import for_ourselves
from builder.progress import event_channel
from builder.progress.host_events import read_event
from builder.request.option_values import words
from builder.request.options import EngineOptions, PushOptions, ReportOptions
from stages.protocol.events import Event

PATIENCE = 30.0  # seconds for a build to end tidily after it was told to


class View(Protocol):
    """Shows builds as they run; called from one thread."""

    def begin(self, outcome: Outcome) -> None:
        """A build begins (again)."""

    def event(self, outcome: Outcome, event: Event) -> None:
        """It told an event; the outcome knows it already."""

    def line(self, outcome: Outcome, line: str) -> None:
        """It printed a line."""

    def end(self, outcome: Outcome, retry_in: float | None) -> None:
        """It ended; ``retry_in`` seconds from now it is tried again (None: it is not)."""

    def close(self) -> None:
        """Nothing runs any more."""


@dataclass(frozen=True)
class RunOptions:
    """How to build: where builds run, how they push, the folder for logs (None: the usual), what failures do."""

    limits: Limits
    engine: EngineOptions = field(default_factory=EngineOptions)
    push: PushOptions = field(default_factory=PushOptions)
    logs: Path | None = None
    keep_going: bool = False


def command_of(image: ImageBuild, way: RunOptions, attempt: int) -> list[str]:
    """The whole command line of an image's build."""
    command = [sys.executable, "-P", "-m", "builder.cli", image.command]
    if image.command != "build":
        return [*command, *image.words]
    log = way.logs / f"{image.name}{'' if attempt == 1 else f'.{attempt}'}.log" if way.logs else None
    options = replace(
        image.options,
        engine=way.engine,
        push=replace(way.push, reference=image.push) if image.push else PushOptions(),
        shown=ReportOptions(progress="plain", log=log),
    )
    return [*command, *words(options), "--", *image.elements]


@dataclass
class _Build:
    """A running build."""

    outcome: Outcome
    process: subprocess.Popen[str]
    since: float


_Message = tuple[str, str, object]  # kind, the image's name, and an event, a line or a status


@dataclass
class Runner:
    """Runs the builds of one request; :meth:`run` returns what became of each, in the order of the images."""

    way: RunOptions
    view: View
    clock: Callable[[], float] = time.monotonic
    outcomes: dict[str, Outcome] = field(default_factory=dict)  # by name, also after an interrupt
    _messages: queue.SimpleQueue[_Message] = field(default_factory=queue.SimpleQueue)
    _builds: dict[str, _Build] = field(default_factory=dict)
    _no_more: bool = False

    def run(self, images: Sequence[ImageBuild]) -> list[Outcome]:
        """Build all; an interrupt ends every build tidily, marks what had not ended, and goes on as it came."""
        self.outcomes = {image.name: Outcome(image) for image in images}
        schedule = Schedule(self.way.limits)
        schedule.add(images)
        try:
            self._loop(schedule, self.outcomes)
        except BaseException:
            self._stop()
            self.view.close()
            raise
        self.view.close()
        return list(self.outcomes.values())

    def _loop(self, schedule: Schedule, outcomes: Mapping[str, Outcome]) -> None:
        while True:
            while (image := schedule.next(self.clock())) is not None:
                self._start(outcomes[image.name])
            if not schedule.running and not schedule.waiting:
                return
            with contextlib.suppress(queue.Empty):
                self._take(self._messages.get(timeout=schedule.pause(self.clock())), schedule, outcomes)

    def _take(self, message: _Message, schedule: Schedule, outcomes: Mapping[str, Outcome]) -> None:
        kind, name, content = message
        outcome = outcomes[name]
        if kind == "event":
            assert isinstance(content, Event)
            outcome.heed(content)
            schedule.heed(name, content)
            self.view.event(outcome, content)
        elif kind == "line":
            outcome.lines.append(str(content))
            self.view.line(outcome, str(content))
        else:
            assert isinstance(content, int)
            schedule.end(name)
            self._ended(outcome, content, schedule)

    def _ended(self, outcome: Outcome, status: int, schedule: Schedule) -> None:
        build = self._builds.pop(outcome.image.name)
        outcome.seconds += self.clock() - build.since
        outcome.status = BUILT if status == 0 else FAILED
        retry_in = self._retry_in(outcome) if status != 0 else None
        self.view.end(outcome, retry_in)
        if retry_in is not None:
            schedule.put_back(outcome.image, self.clock() + retry_in)
        elif status != 0 and not self.way.keep_going:
            schedule.waiting.clear()  # what runs may come to its end: its layers are kept
            self._no_more = True

    def _retry_in(self, outcome: Outcome) -> float | None:
        """In how many seconds a failed build is tried again, or None."""
        wished = outcome.image.retries
        if self._no_more or outcome.attempts > wished.times:
            return None
        if wished.after == "network" and not is_network(outcome.all_text()):
            return None
        return float(wished.wait << (outcome.attempts - 1))

    # -- processes -------------------------------------------------------------------------------------------------

    def _start(self, outcome: Outcome) -> None:
        outcome.started = outcome.started or time.time()
        outcome.begin()
        image = outcome.image
        read, write = os.pipe()
        # A group of folded lines belongs to one build alone; here the lines of several meet.
        own = {event_channel.VARIABLE: str(write), "GITHUB_ACTIONS": "", "PYTHONUNBUFFERED": "1"}
        command, settings = apart(command_of(image, self.way, outcome.attempts))
        own |= settings
        try:
            process = subprocess.Popen(
                command,
                env={**for_ourselves(), **image.environment, **own},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                pass_fds=(write,),
                start_new_session=True,  # Ctrl-C comes to us alone; we tell the builds
            )
        finally:
            os.close(write)
        self._builds[image.name] = _Build(outcome, process, self.clock())
        self.view.begin(outcome)
        threading.Thread(target=self._follow, args=(image.name, process, read), daemon=True).start()

    def _follow(self, name: str, process: subprocess.Popen[str], events: int) -> None:
        """In a thread: hand on what a build tells and prints until it has ended."""
        listener = threading.Thread(target=self._listen, args=(name, events), daemon=True)
        listener.start()
        for line in process.stdout or ():
            self._messages.put(("line", name, line.rstrip("\n")))
        status = process.wait()
        listener.join()
        self._messages.put(("end", name, status))

    def _listen(self, name: str, events: int) -> None:
        with os.fdopen(events, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                with contextlib.suppress(ValueError):
                    self._messages.put(("event", name, read_event(line)))

    def _stop(self) -> None:
        """End what runs as an interrupt ends it, and wait until all is gone."""
        for build in self._builds.values():
            build.process.terminate()
        end = self.clock() + PATIENCE
        for build in self._builds.values():
            try:
                build.process.wait(max(0.0, end - self.clock()))
            except subprocess.TimeoutExpired:
                build.process.kill()
                build.process.wait()
            build.outcome.status = INTERRUPTED
            build.outcome.seconds += self.clock() - build.since
        self._builds.clear()
