"""Outputs on their way from the store to their places, while the build still works on others and tidies up."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from builder import destination
from builder.checksums import ARTIFACT, disk_target
from builder.checksums import beside as checksums
from stages.events import Event
from stages.request import DISK_TYPES

if TYPE_CHECKING:
    from builder.build import Agent
    from builder.documents import Describer


TOLD = ("digest", "image", "bytes", "more")  # of an output's event


class AbandonedError(Exception):
    """The build failed while one of its outputs was on its way."""


class Arrivals:
    """Fetches changed outputs to ``targets``, with the documents that go with them.

    None appears before the build has succeeded; where it fails, what has arrived by then is removed.
    """

    def __init__(self, agent: Agent, targets: Sequence[Path], describer: Describer) -> None:
        self._agent = agent
        self._targets = targets
        self._describer = describer
        self._succeeded: Future[bool] = Future()
        self._pool = ThreadPoolExecutor(max_workers=2)
        self._begun: list[tuple[Path, Event, Future[None]]] = []

    def begin(self, event: Event) -> None:
        """Fetch a changed output, in a thread of its own."""
        if not event["changed"] or not 0 <= event.get("index", -1) < len(self._targets):
            return
        target = self._targets[event["index"]]
        stream: Iterable[bytes] | Path = self._while_wanted(self._agent.fetch(event["path"]))
        if event["output"] in DISK_TYPES:  # large: no detour through a stream where there is a short way
            stream = self._agent.local(event["path"]) or stream
        beside = functools.partial(self._beside, event)
        more = {
            f"{ARTIFACT}-{disk}": disk_target(target, disk, destination.SUFFIXES[event["output"]])
            for disk in event.get("more", [])
        }
        arrival = self._pool.submit(destination.place, stream, event["output"], target, self._wait, beside, more)
        self._begun.append((target, event, arrival))

    def _beside(self, event: Event, folder: Path) -> Mapping[Path, bytes]:
        target = self._targets[event["index"]]
        sums = checksums(folder, target, destination.SUFFIXES[event["output"]], event["more"])
        return {**self._describer.beside(folder, event), **sums}

    def _while_wanted(self, stream: Iterable[bytes]) -> Iterator[bytes]:
        for data in stream:
            if self._succeeded.done():
                self._wait()
            yield data

    def _wait(self) -> None:
        if not self._succeeded.result():
            raise AbandonedError

    def finish(self, memory: destination.Memory) -> None:
        """The build has succeeded: let all outputs appear, and remember them."""
        self._succeeded.set_result(True)
        for target, event, arrival in self._begun:
            arrival.result()
            memory.remember(target, event["key"], {name: event[name] for name in TOLD if name in event})

    def __enter__(self) -> Arrivals:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._succeeded.done():
            self._succeeded.set_result(False)
        self._pool.shutdown()
