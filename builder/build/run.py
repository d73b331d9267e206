"""One build from the host's side: start the build container, show its events, fetch what it made."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blockdev.core.errors import BuildError
from builder import destination
from builder.build.boundary import REFUSED, Boundary, Offered, offered
from builder.build.client import Agent
from builder.build.delivery import Arrivals
from builder.build.load import load_folder, load_image, loaded_name
from builder.build.request_archive import request_archive
from builder.build.source_paths import named
from builder.describe import documents
from builder.destination import FILES
from builder.progress.report import Log, Reporter, closing, failure
from builder.request.prepare import Prepared
from builder.request.store_size import bounds
from stages.protocol.emit import Event
from stages.protocol.request import Output, Request
from stages.redaction.redaction import Redaction

if TYPE_CHECKING:
    from builder.remote_cache.session import Exchange

INTERRUPTED = 130


class FailedError(Exception):
    """The build failed and has said why; ``status`` is the exit status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass
class Conversation:
    """Follows the events of one request: shows them, opens shells at breaks, remembers outputs and errors."""

    agent: Agent
    reporter: Reporter
    log: Log
    again: Sequence[str]  # the command line of a shell with the same request, for the report of a failure
    beside: Path = Path()  # the folder of the request's lock, whose files the build may ask for
    folders: Mapping[str, Path] = field(default_factory=dict)  # of the request's elements, by name
    large: Mapping[str, Path] = field(default_factory=dict)  # files that the build may ask for, by digest
    outputs: list[Event] = field(default_factory=list)
    used: Event = field(default_factory=dict)
    vendored: str = ""
    end: Event = field(default_factory=dict)
    result: Any = None
    assembly: Any = None  # the job of the block-device stage, where the build wants it
    failed: Event | None = None
    error: Event | None = None
    on_output: Callable[[Event], None] = lambda _: None
    on_written: Callable[[Callable[[str], None]], None] = lambda send: send("[]")
    exchange: Exchange | None = None  # the caches elsewhere, where there are any
    redaction: Redaction = field(default_factory=Redaction)
    _boundary: Boundary | None = None
    _offered: Offered | None = None

    @property
    def caches(self) -> dict[str, str]:
        """What a request says of caches elsewhere."""
        return self.exchange.wishes() if self.exchange else {}

    def on_event(self, event: Event, send: Callable[[str], None]) -> None:
        """Take one event; raises BuildError for one that has nothing to do with the request."""
        assert self._boundary is not None
        event = self._boundary.check(event)
        if self.exchange and self.exchange.handle(event, send):
            return
        if self._of_locks(event, send):  # of no use to a person
            return
        if event["type"] == "error":
            event = named(event, self.folders)
        event = self.redaction.event(event)
        self.log.handle(event)
        self.reporter.handle(event)
        kind = event["type"]
        if kind == "output":
            self.outputs.append(event)
            self.on_output(event)
        elif kind == "written":
            self.on_written(send)
        elif kind == "assemble":
            self.assembly = event["job"]
        elif kind == "break":
            with self.reporter.paused():
                self.agent.enter(event["session"])
            send("continue")
        elif kind == "end":
            self.end = event
        elif kind == "result":
            self.result = event["data"]
        elif kind == "failed":
            self.failed = event
        elif kind == "error":
            self.error = event

    def on_chatter(self, line: str) -> None:
        """Take a line that is no event: the engine's own."""
        self.log.line(self.redaction.mask(line))

    def _of_locks(self, event: Event, send: Callable[[str], None]) -> bool:
        kind = event["type"]
        if kind == "want":
            send(self._offered.piece(event["path"], event["offset"]) if self._offered else REFUSED)
        elif kind == "used":
            self.used = event["used"]
        elif kind == "vendor":
            self.vendored = event["path"]
        return kind in ("want", "used", "vendor")

    def ask(
        self, request: Request, archive: bytes, then: Callable[[], tuple[Agent, bytes] | None] = lambda: None
    ) -> None:
        """Ask ``request``, packed in ``archive``, and follow to the end.

        Raises BuildError or FailedError after saying what went wrong. After an answer without a fault ``then`` may name
        another agent and what to ask it.
        """
        self._boundary = Boundary(request, self.agent.engine.store)
        self._offered = offered(request, self.beside, self.large)
        if self.exchange:
            self.exchange.fetch = self.agent.fetch
            self.agent.images = self.exchange.images
            self.exchange.begin()
        try:
            status = self.agent.ask(archive, self.on_event, self.on_chatter)
            if status == 0 and (following := then()):
                agent, archive = following
                status = agent.ask(archive, self.on_event, self.on_chatter)
        finally:
            self._offered.close()
            self.reporter.close()
            self.log.close()
            if self.exchange:
                self.exchange.close()
        if self.failed:
            self.agent.note(failure(self.failed, self.log.path, self.again))
        if self.error:
            if self.agent.debug:
                self.agent.note(self.error["trace"])
            found = BuildError(self.error["what"], where=self.error["where"], hint=self.error["hint"])
            found.exit_status = self.error["status"]
            raise found
        if status != 0:
            if not self.failed and status != INTERRUPTED:
                hint = f"the log: {self.log.path}"
                raise BuildError(
                    f"the build container ended with status {status}",
                    where=f"engine {self.agent.engine.name}",
                    hint=hint,
                )
            raise FailedError(1 if self.failed else status)
        self._boundary.check_whole()


def build(
    prepared: Prepared, conversation: Conversation, *, load: bool, folder: Path, say: Callable[[str], None]
) -> None:
    """Build, bring the outputs to their places, keep the lock that is wanted, and say where all is."""
    produce(prepared, conversation, load=load, folder=folder, say=say)
    keep_lock([(prepared, conversation)], say)


def produce(
    prepared: Prepared, conversation: Conversation, *, load: bool, folder: Path, say: Callable[[str], None]
) -> None:
    """Build, bring the outputs to their places, and say where they are; side outputs go to ``folder``."""
    memory = destination.memory()
    request = prepared.request
    known = [
        dataclasses.replace(output, **memory.recall_all(target)) if documents.are_there(output, target) else output
        for output, target in zip(request.outputs, prepared.targets, strict=True)
    ]
    wanted = [*known, Output("docker-archive", {"tag": loaded_name(request)})] if load else known
    for output, target in zip(request.outputs, prepared.targets, strict=True):
        documents.check(output, target, memory, replace=prepared.replace)
    for place in {place.parent for place in prepared.targets} | {folder.absolute(), load_folder()}:
        destination.sweep(place)
    agent = conversation.agent
    request = dataclasses.replace(
        request,
        outputs=tuple(wanted),
        image=agent.digest(),
        caches=conversation.caches,
        arguments={**request.arguments, **bounds()},
    )
    for sentence in prepared.notes:
        agent.note(sentence)
    if reasons := request.disk.get("privileged"):
        agent.require_privilege(reasons)
        for reason in reasons:
            agent.note(f"privileged block-device stage: {reason}")
        for reason in request.disk.get("network", ()):
            agent.note(f"privileged block-device stage, with a network: {reason}")
        if request.disk.get("device_mapper"):
            agent.note("privileged block-device stage, with all of the machine's block devices: for the device mapper")
    if request.disk:
        request = dataclasses.replace(request, disk={**request.disk, "image": agent.for_disks({}).digest()})
    describer = documents.Describer(
        prepared, request.image, lambda: conversation.used or request.locking.locked or None
    )
    beside: list[str] = []
    side_folder = prepared.side_folder or folder
    with Arrivals(agent, prepared.targets, describer, replace=prepared.replace) as arrivals:
        conversation.on_output = arrivals.begin
        conversation.on_written = arrivals.tell
        conversation.ask(
            request,
            request_archive(request, prepared.elements, prepared.given),
            lambda: _assembly(conversation, request, prepared),
        )
        for event in (event for event in conversation.outputs if event["output"] == FILES):
            beside = arrivals.bring_side_files(event, side_folder, "" if prepared.side_folder else request.name)
        if prepared.files and not beside:
            raise BuildError(
                f"the output {FILES} is empty: no outside script wrote into its working directory",
                hint="name an element that leaves files beside the image (ramdisk, baremetal), or another output",
            )
        arrivals.finish(memory)
    finished = _in_order(conversation.outputs)
    for sentence in () if prepared.side_folder else destination.moved_aside(beside, request.name):
        agent.note(sentence)
    for path in () if prepared.targets else beside:
        say(f"{FILES}: {destination.shown(str((side_folder / path).absolute()))}")
    places = [str(target) for target in prepared.targets]
    if load:
        places.append(load_image(agent, finished[-1]["path"], request))
    for sentence in conversation.exchange.finish() if conversation.exchange else ():
        say(sentence)
    say(closing(conversation.end, finished, places))


def _assembly(conversation: Conversation, request: Request, prepared: Prepared) -> tuple[Agent, bytes] | None:
    """The block-device stage, where the build asked for it: an agent in the image for disks, and its request."""
    if conversation.assembly is None:
        return None
    arguments = {"job": json.dumps(conversation.assembly), "passphrases": json.dumps(dict(prepared.passphrases))}
    asked = dataclasses.replace(request, command="assemble", arguments=arguments)
    elements = prepared.elements if request.disk.get("privileged") else ()
    return conversation.agent.for_disks(request.disk), request_archive(asked, elements, prepared.given)


def keep_lock(builds: Sequence[tuple[Prepared, Conversation]], say: Callable[[str], None]) -> None:
    """Write one lock over the builds of one request, for an architecture each, where it is wanted; say where it is."""
    first = builds[0][0]
    if not first.request.locking.report:
        return
    from builder.request import lock_file

    vendored = [each.agent.fetch(each.vendored) for _, each in builds if each.vendored]
    used = {prepared.request.arch: each.used for prepared, each in builds}
    for line in lock_file.keep(first.locks, first.request, used, vendored):
        say(line)


def _in_order(events: Sequence[Event]) -> list[Event]:
    return sorted((event for event in events if event["output"] != "files"), key=lambda event: int(event["index"]))


def shell(prepared: Prepared, conversation: Conversation, at: str, command: Sequence[str]) -> int:
    """Build up to a stage, then open a shell or run a command there; returns its exit status."""
    arguments = {**({"command": json.dumps(list(command))} if command else {}), **bounds()}
    request = dataclasses.replace(
        prepared.request,
        stop_at=at,
        image=conversation.agent.digest(),
        arguments=arguments,
        caches=conversation.caches,
    )
    conversation.ask(request, request_archive(request, prepared.elements, prepared.given))
    return conversation.agent.enter(conversation.result["session"])


def plan(prepared: Prepared, conversation: Conversation) -> list[Event]:
    """The plan's stages, with hits, misses and reasons."""
    request = dataclasses.replace(prepared.request, image=conversation.agent.digest(), caches=conversation.caches)
    conversation.ask(request, request_archive(request, prepared.elements, prepared.given))
    found: list[Event] = conversation.result["stages"]
    return found


def cache(conversation: Conversation, arguments: dict[str, str]) -> Any:
    """What the cache command answers."""
    request = Request("cache", arguments=arguments)
    conversation.ask(request, request_archive(request, ()))
    return conversation.result
