"""What a build container may ask and say in answer to one request: everything else ends the build.

A build runs other people's scripts beside the agent, so nothing that it sends is believed. ``stages.protocol.events``
has looked at each event by itself; here it is compared with the request, and files are handed out by a table that the
request fixes before anything runs.
"""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blockdev.core.open_beneath import open_beneath
from blockdev.core.typed_json import read as read_json
from builder.destination import FILES
from stages.protocol import events
from stages.protocol.control import REFUSED
from stages.protocol.events import wrong
from stages.protocol.request import DISK_TYPES, OFFERED, Request

PIECE = 3 << 18  # bytes of a file that travel in one line: a multiple of three, so that base64 pads the last one only
_RESULTS: Mapping[str, type[Any]] = {"plan": events.PlanResult, "shell": events.ShellResult}
_OF_CACHES = (events.Lookup, events.Fetch, events.Bad, events.Packed, events.Share, events.Shared)


class Offered:
    """The files that a request offers, by the name under which the container may want them; no others are read.

    Each is named by a folder and its path below that. It is opened once, following no link on the way, and read through
    what was opened.
    """

    def __init__(self, files: Mapping[str, tuple[Path, str]]) -> None:
        self._files = dict(files)
        self._open: dict[str, int] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def piece(self, name: str, offset: int) -> str:
        """A piece of a file as a line for the container, empty at its end; REFUSED where it cannot be had."""
        try:
            handle = self._handle(name)
            data = os.pread(handle, PIECE, offset)
        except (OSError, OverflowError):
            return REFUSED
        if not data:
            self._close(name)
        return base64.b64encode(data).decode("ascii")

    def _handle(self, name: str) -> int:
        if name not in self._open:
            if name not in self._files:
                raise OSError("that was not offered")
            self._open[name] = open_beneath(*self._files[name])
        return self._open[name]

    def _close(self, name: str) -> None:
        with contextlib.suppress(OSError):
            os.close(self._open.pop(name))

    def close(self) -> None:
        """Close what is open."""
        for name in list(self._open):
            self._close(name)


def offered(request: Request, lock_folder: Path, large: Mapping[str, Path]) -> Offered:
    """What a request offers: the files beside its lock that the lock names, and files too ``large`` to travel."""
    files = {path: (lock_folder, path) for path in request.locking.offered}
    for digest in {*large} & {*request.given.values()}:
        file = large[digest].resolve()
        files[f"{OFFERED}{digest}"] = file.parent, file.name
    return Offered(files)


@dataclass
class Boundary:
    """Compares the events that answer ``request`` with it; ``store`` is the store's path in the container."""

    request: Request
    store: str
    _planned: frozenset[int] = frozenset()
    _outputs: set[int] = field(default_factory=set)
    _seen: set[str] = field(default_factory=set)

    def check(self, event: events.Event) -> events.Event:
        """The event; raises BuildError for one that this request does not bring about.

        A command's result comes back as what that command answers (``events.PlanResult``).
        """
        if isinstance(event, events.OfStage) and event.number not in self._planned:
            raise wrong(f"an event of a stage that is in no plan ({event.kind})")
        if isinstance(event, _OF_CACHES) and not self.request.caches:
            raise wrong(f"an event of caches, and the request has none ({event.kind})")
        match event:
            case events.Plan():
                self._planned = frozenset(stage.number for stage in event.stages)
            case events.Output():
                self._check_output(event)
            case events.Assemble():
                self._check_assemble(event.job)
            case events.Break() if not self.request.breaks:
                raise wrong("a break, and the request asks for none")
            case events.Used():
                self._check_used(event)
            case events.Vendor():
                self._check_vendor(event)
            case events.Share():
                self._once("share")
                self._check_packed(event)
            case events.Packed():
                self._check_packed(event)
            case events.Result():
                return self._checked_result(event)
            case events.End():
                self._once("end")
        return event

    def check_whole(self) -> None:
        """After an answer without a fault: raise BuildError where it lacks something that the request asks for."""
        if self.request.command == "build":
            if "end" not in self._seen or len(self._outputs) != len(self.request.outputs):
                raise wrong("fewer outputs than the request asks for, and no fault")
        elif "result" not in self._seen:
            raise wrong("no result, and no fault")

    def _once(self, kind: str) -> None:
        if kind in self._seen:
            raise wrong(f"an event for a second time ({kind})")
        self._seen.add(kind)

    def _is(self, path: str, *parts: str) -> bool:
        return path == "/".join((self.store.rstrip("/"), *parts))

    def _check_output(self, event: events.Output) -> None:
        key, path, index = event.key, event.path, event.index
        if event.output == FILES:
            self._once("output files")
            if not self._is(path, "outputs", f"files-{key[:32]}"):
                raise wrong("files that lie in another place")
            return
        outputs = self.request.outputs
        if not 0 <= index < len(outputs) or outputs[index].type != event.output or index in self._outputs:
            raise wrong("an output that the request does not ask for")
        self._outputs.add(index)
        if not self._is(path, "outputs", key) and (path or event.changed or outputs[index].have != key):
            raise wrong("an output that lies in another place")
        if not event.changed and outputs[index].have != key:
            raise wrong("an output that is said to be there already, and is not")
        if not event.digest:
            raise wrong("an output without a digest")
        if event.more and (event.output not in DISK_TYPES or not set(event.more) <= self._disks()):
            raise wrong("an output with disks that the request does not have")

    def _disks(self) -> set[str]:
        """The names of the disks that a request's block-device configuration has."""
        from blockdev.configuration.read import read
        from blockdev.layout.options import Options
        from blockdev.layout.plan import plan

        disk = self.request.disk
        if not disk:
            return set()
        options = read_json(Options, disk["options"])
        return {each.name for each in plan(read(disk["text"], disk["file"]), options, 0, 0).disks}

    def _check_assemble(self, job: events.DiskJob) -> None:
        self._once("assemble")
        outputs = self.request.outputs
        if not self.request.disk or not job.outputs:
            raise wrong("a disk to make, and the request has none")
        for output in job.outputs:
            index = output.index
            if index >= len(outputs) or (output.type, output.have) != (outputs[index].type, outputs[index].have):
                raise wrong("a disk to make that the request does not ask for")
            if dict(outputs[index].options) != output.options:
                raise wrong("a disk to make with other options than the request's")
        privileged = bool(self.request.disk.get("privileged"))
        if privileged != bool(job.tree):
            raise wrong("a disk to make by other means than the request's")
        if privileged:
            self._check_tree(job)

    def _check_tree(self, job: events.DiskJob) -> None:
        folder, _, name = job.tree.rpartition("/")
        above, _, own = folder.rpartition("/")
        if not self._is(above, "outputs") or not own.startswith("tree-") or "." in own or name in ("", ".", ".."):
            raise wrong("a tree that lies in another place")
        if job.environment is None or job.used < 0 or job.least < 0:
            raise wrong("a disk to make that lacks something")

    def _check_used(self, event: events.Used) -> None:
        from stages.protocol.lock_record import Used

        self._once("used")
        if not self.request.locking.report:
            raise wrong("a lock, and the request asks for none")
        try:
            Used.from_json(event.used)
        except ValueError as error:
            raise wrong(f"a lock that cannot be: {error}") from None

    def _check_vendor(self, event: events.Vendor) -> None:
        self._once("vendor")
        if not self.request.locking.vendor or not self._is_folder_of("vendor-", event.path):
            raise wrong("files for a lock that the request does not ask for, or that lie in another place")

    def _is_folder_of(self, prefix: str, path: str) -> bool:
        above, _, own = path.rpartition("/")
        rest = own.removeprefix(prefix)
        return (
            self._is(above, "outputs") and own != rest and len(rest) == 32 and not set(rest) - set("0123456789abcdef")
        )

    def _check_packed(self, event: events.Packed | events.Share) -> None:
        if not self.request.caches.get("write") or not self._is_in_work(event.path):
            raise wrong("a layer that is for no cache, or lies in another place")

    def _is_in_work(self, path: str) -> bool:
        """Is this a folder in a place where a stage runs: ``STORE/work/PLACE/NAME``."""
        parts = path.split("/")
        return self._is("/".join(parts[:-2]), "work") and not any(part in ("", ".", "..") for part in parts[-2:])

    def _checked_result(self, event: events.Result) -> events.Result:
        self._once("result")
        answer = _RESULTS.get(self.request.command)
        if answer is None:
            return event
        try:
            return events.Result(data=read_json(answer, event.data))
        except ValueError as error:
            raise wrong(f"a result that cannot be: {error}") from None
