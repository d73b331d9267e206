"""One build from the host's side: start the build container, show its events, fetch what it made."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blockdev.core.errors import INTERRUPTED, BuildError
from builder import destination
from builder.build.boundary import Boundary, Offered, offered
from builder.build.client import BuildContainer
from builder.build.delivery import OutputDelivery
from builder.build.load import load_folder, load_image, loaded_name
from builder.build.request_archive import request_archive
from builder.build.source_paths import paths_for_user
from builder.describe import documents
from builder.destination import FILES, place_locks
from builder.elements.check.image import remarks
from builder.progress.report import Log, Reporter, closing, failure
from builder.request.prepared_build import PreparedBuild
from builder.request.store_size import bounds
from stages.protocol import events
from stages.protocol.control import REFUSED
from stages.protocol.request import Output, Request
from stages.redaction.redaction import Redaction

if TYPE_CHECKING:
    from builder.remote_cache.session import CacheSession


class FailedError(Exception):
    """The build failed and has said why; ``status`` is the exit status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass
class BuildSession:
    """Follows the events of one request: shows them, opens shells at breaks, remembers outputs and errors."""

    container: BuildContainer
    reporter: Reporter
    log: Log
    shell_command: Sequence[str]  # the command line of a shell with the same request, for the report of a failure
    beside: Path = Path()  # the folder of the request's lock, whose files the build may ask for
    folders: Mapping[str, Path] = field(default_factory=dict)  # of the request's elements, by name
    large: Mapping[str, Path] = field(default_factory=dict)  # files that the build may ask for, by digest
    outputs: list[events.Output] = field(default_factory=list)
    used: Mapping[str, Any] = field(default_factory=dict)
    vendored: str = ""
    end: events.End | None = None
    result: Any = None
    assembly: events.DiskJob | None = None  # the job of the block-device stage, where the build wants it
    failed: events.Failed | None = None
    error: events.Error | None = None
    on_output: Callable[[events.Output], None] = lambda _: None
    on_written: Callable[[Callable[[str], None]], None] = lambda send: send("[]")
    exchange: CacheSession | None = None  # the caches elsewhere, where there are any
    redaction: Redaction = field(default_factory=Redaction)
    environment: Mapping[str, str] = field(default_factory=dict)  # the caller's
    again: Sequence[str] = ()  # the command line of a build with the same request, without secrets
    started: float = field(default_factory=time.time)  # seconds since 1970
    packages: Mapping[str, str] = field(default_factory=dict)  # versions by name, where an output told them
    build_image: str = ""
    _boundary: Boundary | None = None
    _offered: Offered | None = None

    @property
    def caches(self) -> dict[str, str]:
        """What a request says of caches elsewhere."""
        return self.exchange.wishes() if self.exchange else {}

    def on_event(self, event: events.Event, send: Callable[[str], None]) -> None:
        """Take one event; raises BuildError for one that has nothing to do with the request."""
        assert self._boundary is not None
        event = self._boundary.check(event)
        if self.exchange and self.exchange.handle(event, send):
            return
        if self._of_locks(event, send):  # of no use to a person
            return
        if isinstance(event, events.Error):
            event = paths_for_user(event, self.folders)
        event = self.redaction.event(event)
        self.log.handle(event)
        self.reporter.handle(event)
        match event:
            case events.Output():
                self.outputs.append(event)
                self.on_output(event)
            case events.Written():
                self.on_written(send)
            case events.Assemble():
                self.assembly = event.job
            case events.Break():
                with self.reporter.paused():
                    self.container.enter(event.session)
                if folders := self._boundary.request.break_folders:
                    from builder.build import break_files  # only now: hardly a build breaks

                    session = f"{self.container.engine.store}/sessions/{event.session}"
                    break_files.bring(session, folders, self.container.fetch, self.container.note)
                send("continue")
            case events.End():
                self.end = event
            case events.Result():
                self.result = event.data
            case events.Failed():
                self.failed = event
            case events.Error():
                self.error = event

    def on_chatter(self, line: str) -> None:
        """Take a line that is no event: the engine's own."""
        self.log.line(self.redaction.mask(line))

    def _of_locks(self, event: events.Event, send: Callable[[str], None]) -> bool:
        match event:
            case events.Want():
                send(self._offered.piece(event.path, event.offset) if self._offered else REFUSED)
            case events.Used():
                self.used = event.used
            case events.Vendor():
                self.vendored = event.path
            case _:
                return False
        return True

    def ask(
        self, request: Request, archive: bytes, then: Callable[[], tuple[BuildContainer, bytes] | None] = lambda: None
    ) -> None:
        """Ask ``request``, packed in ``archive``, and follow to the end.

        Raises BuildError or FailedError after saying what went wrong. After an answer without a fault ``then`` may name
        another agent and what to ask it.
        """
        self._boundary = Boundary(request, self.container.engine.store)
        self._offered = offered(request, self.beside, self.large)
        if self.exchange:
            self.exchange.fetch = self.container.fetch
            self.container.images = self.exchange.images
            self.exchange.begin()
        try:
            status = self.container.ask(archive, self.on_event, self.on_chatter)
            if status == 0 and (following := then()):
                container, archive = following
                status = container.ask(archive, self.on_event, self.on_chatter)
        finally:
            self._offered.close()
            self.reporter.close()
            self.log.close()
            if self.exchange:
                self.exchange.close()
        if self.failed:
            self.container.note(failure(self.failed, self.log.path, self.shell_command))
        if self.error:
            if self.container.debug:
                self.container.note(self.error.trace)
            problem = BuildError(self.error.what, where=self.error.where, hint=self.error.hint)
            problem.exit_status = self.error.status
            raise problem
        if status != 0:
            if not self.failed and status != INTERRUPTED:
                hint = f"the log: {self.log.path}"
                raise BuildError(
                    f"the build container ended with status {status}",
                    where=f"engine {self.container.engine.name}",
                    hint=hint,
                )
            raise FailedError(1 if self.failed else status)
        self._boundary.check_whole()


def build(
    prepared: PreparedBuild, session: BuildSession, *, load: bool, folder: Path, say: Callable[[str], None]
) -> None:
    """Build, bring the outputs to their places, keep the lock that is wanted, and say where all is."""
    with place_locks.held(prepared.targets, session.container.note):
        produce(prepared, session, load=load, folder=folder, say=say)
        keep_lock([(prepared, session)], say)
        remember(prepared, session, dict(enumerate(prepared.targets)))


def produce(
    prepared: PreparedBuild, session: BuildSession, *, load: bool, folder: Path, say: Callable[[str], None]
) -> None:
    """Build, bring the outputs to their places, and say where they are; side outputs go to ``folder``."""
    memory = destination.memory()
    request = prepared.request
    remembered = [
        dataclasses.replace(output, **memory.recall_all(target)) if documents.are_there(output, target) else output
        for output, target in zip(request.outputs, prepared.targets, strict=True)
    ]
    asked = [*remembered, Output("docker-archive", {"tag": loaded_name(request)})] if load else remembered
    for output, target in zip(request.outputs, prepared.targets, strict=True):
        documents.check(output, target, memory, replace=prepared.replace)
    for folder_of_target in {folder_of_target.parent for folder_of_target in prepared.targets} | {
        folder.absolute(),
        load_folder(),
    }:
        destination.sweep(folder_of_target)
    container = session.container
    request = dataclasses.replace(
        request,
        outputs=tuple(asked),
        image=container.digest(),
        caches=session.caches,
        arguments={**request.arguments, **bounds(session.environment)},
    )
    for sentence in (*prepared.notes, *remarks(prepared.elements)):
        container.note(sentence)
    if reasons := request.disk.get("privileged"):
        container.require_privilege(reasons)
        for sentence in privileges(request):
            container.note(sentence)
    if request.disk:
        request = dataclasses.replace(request, disk={**request.disk, "image": container.for_disks({}).digest()})
    describer = documents.DocumentWriter(
        prepared, request.image, lambda: session.used or request.locking.locked or None
    )
    beside: list[str] = []
    side_folder = prepared.side_folder or folder
    with OutputDelivery(container, prepared.targets, describer, replace=prepared.replace) as arrivals:
        session.on_output = arrivals.begin
        session.on_written = arrivals.tell
        session.ask(
            request,
            request_archive(request, prepared.elements, prepared.given),
            lambda: _assembly(session, request, prepared),
        )
        for event in (event for event in session.outputs if event.output == FILES):
            beside = arrivals.bring_side_files(event, side_folder, "" if prepared.side_folder else request.name)
        if prepared.files and not beside:
            raise BuildError(
                f"the output {FILES} is empty: no outside script wrote into its working directory",
                hint="name an element that leaves files beside the image (ramdisk, baremetal), or another output",
            )
        arrivals.finish(memory)
    finished = _in_order(session.outputs)
    for sentence in () if prepared.side_folder else destination.moved_aside(beside, request.name):
        container.note(sentence)
    for path in () if prepared.targets else beside:
        say(f"{FILES}: {destination.shown(str((side_folder / path).absolute()))}")
    session.packages, session.build_image = describer.packages, request.image
    places = [str(target) for target in prepared.targets]
    if load:
        places.append(load_image(container, finished[-1].path, request))
    for sentence in session.exchange.finish() if session.exchange else ():
        say(sentence)
    assert session.end is not None, "the boundary saw it"
    say(closing(session.end, finished, places))


def _assembly(session: BuildSession, request: Request, prepared: PreparedBuild) -> tuple[BuildContainer, bytes] | None:
    """The block-device stage, where the build asked for it: an agent in the image for disks, and its request."""
    if session.assembly is None:
        return None
    arguments = {
        "job": json.dumps(session.assembly, default=vars),
        "passphrases": json.dumps(dict(prepared.passphrases)),
    }
    asked = dataclasses.replace(request, command="assemble", arguments=arguments)
    elements = prepared.elements if request.disk.get("privileged") else ()
    return session.container.for_disks(request.disk), request_archive(asked, elements, prepared.given)


def keep_lock(builds: Sequence[tuple[PreparedBuild, BuildSession]], say: Callable[[str], None]) -> None:
    """Write one lock over the builds of one request, for an architecture each, where it is wanted; say where it is."""
    first = builds[0][0]
    if not first.request.locking.report:
        return
    from builder.request import lock_file

    vendored = [each.container.fetch(each.vendored) for _, each in builds if each.vendored]
    used = {prepared.request.arch: each.used for prepared, each in builds}
    for line in lock_file.keep(first.locks, first.request, used, vendored):
        say(line)


def _in_order(outputs: Sequence[events.Output]) -> list[events.Output]:
    return sorted((output for output in outputs if output.output != FILES), key=lambda output: output.index)


def remember(prepared: PreparedBuild, session: BuildSession, places: Mapping[int, Path]) -> None:
    """Keep a record of a build that succeeded, for ``dib-ctr history``; ``places`` has where outputs lie by index.

    Where nothing can be kept the build is good all the same.
    """
    from builder.build import records

    assert session.end is not None
    records.keep(prepared, session, _in_order(session.outputs), session.end, places)


def shell(prepared: PreparedBuild, session: BuildSession, at: str, command: Sequence[str]) -> int:
    """Build up to a stage, then open a shell or run a command there; returns its exit status."""
    arguments = {**({"command": json.dumps(list(command))} if command else {}), **bounds(session.environment)}
    request = dataclasses.replace(
        prepared.request,
        stop_at=at,
        image=session.container.digest(),
        arguments=arguments,
        caches=session.caches,
    )
    session.ask(request, request_archive(request, prepared.elements, prepared.given))
    return session.container.enter(session.result.session)


def privileges(request: Request) -> Iterator[str]:
    """Why the block-device stage of a request is privileged, and what it gets; nothing where it is not."""
    disk = request.disk
    for reason in disk.get("privileged", ()):
        yield f"privileged block-device stage: {reason}"
    if disk.get("privileged"):
        for reason in disk.get("network", ()):
            yield f"privileged block-device stage, with a network: {reason}"
        if disk.get("device_mapper"):
            yield "privileged block-device stage, with all of the machine's block devices: for the device mapper"


def plan(prepared: PreparedBuild, session: BuildSession) -> Sequence[events.PlannedStage]:
    """The plan's stages, with hits, misses and reasons."""
    request = dataclasses.replace(prepared.request, image=session.container.digest(), caches=session.caches)
    for sentence in (*prepared.notes, *remarks(prepared.elements), *privileges(request)):
        session.container.note(sentence)
    session.ask(request, request_archive(request, prepared.elements, prepared.given))
    stages: Sequence[events.PlannedStage] = session.result.stages
    return stages


def cache(session: BuildSession, arguments: dict[str, str]) -> Any:
    """What the cache command answers."""
    request = Request("cache", arguments=arguments)
    session.ask(request, request_archive(request, ()))
    return session.result
