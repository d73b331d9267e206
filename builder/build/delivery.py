"""Outputs on their way from the store to their places, while the build still works on others and tidies up."""

from __future__ import annotations

import contextlib
import functools
import json
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from blockdev.core.errors import BuildError
from builder import destination
from builder.destination import FILES, space
from builder.destination.checksum_files import ARTIFACT, disk_target
from builder.destination.checksum_files import beside as checksums
from builder.request.options import NAME
from stages.protocol.events import Output
from stages.protocol.request import DISK_TYPES

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from builder.build.client import BuildContainer
    from builder.describe.documents import DocumentWriter


FACTS = ("digest", "image", "bytes", "more")  # of an output's event
_FOLDER = re.compile(r"[0-9a-z-]{16,80}\Z")


class AbandonedError(Exception):
    """The build failed while one of its outputs was on its way."""


@dataclass(frozen=True)
class Arrival:
    """One changed output: its event, its target, and what is to appear by its place, once that is whole."""

    event: Output
    target: Path
    coming: Future[dict[Path, Path]]

    @property
    def facts(self) -> tuple[str, dict[str, object]]:
        """The output's key, and what was told of it."""
        fields = vars(self.event)
        return self.event.key, {name: fields[name] for name in FACTS if name in fields}


class OutputDelivery:
    """Fetches changed outputs to ``targets``, with the documents that go with them.

    None appears before the build has succeeded and all are whole; where it fails, what has arrived by then is removed.
    ``replace``: files at their places may go, whoever wrote them.
    """

    def __init__(
        self, container: BuildContainer, targets: Sequence[Path], describer: DocumentWriter, *, replace: bool = False
    ) -> None:
        self._container = container
        self._targets = targets
        self._describer = describer
        self._replace = replace
        self._abandoned = threading.Event()
        self._partials = contextlib.ExitStack()
        self._begun: list[Arrival] = []
        self._side: destination.SideFiles | None = None

    @functools.cached_property
    def _threads(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor  # where nothing changed nothing is fetched

        return ThreadPoolExecutor(max_workers=2)

    def begin(self, event: Output) -> None:
        """Fetch a changed output, in a thread of its own."""
        if not event.changed or not 0 <= event.index < len(self._targets):
            return
        target = self._targets[event.index]
        self._check(event)
        asked = self._describer.prepared.request.outputs[event.index].type
        if event.output != asked:
            raise BuildError(f"the build container made {event.output!r} where {asked} was asked for")
        folder = self._partials.enter_context(destination.partial(target))
        stream: Iterable[bytes] | Path = self._while_wanted(self._container.fetch(event.path))
        if event.output in DISK_TYPES:  # large: no detour through a stream where there is a short way
            stream = self._container.local(event.path) or stream
        beside = functools.partial(self._beside, event)
        more = {
            f"{ARTIFACT}-{disk}": disk_target(target, disk, destination.SUFFIXES[event.output]) for disk in event.more
        }
        coming = self._threads.submit(destination.bring, stream, event.output, target, folder, beside, more)
        self._begun.append(Arrival(event, target, coming))

    def tell(self, send: Callable[[str], None]) -> None:
        """The build has written all its outputs, and waits for word of those that are here: send it as soon as can be.

        An output that could not be brought is not among them.
        """
        begun, counting = list(self._begun), threading.Lock()
        left = len(begun)

        def came(_: Future[dict[Path, Path]]) -> None:
            nonlocal left
            with counting:
                left -= 1
                if not left:
                    send(json.dumps([arrival.event.index for arrival in begun if _is_whole(arrival)]))

        for arrival in begun:
            arrival.coming.add_done_callback(came)
        if not begun:
            send("[]")

    def _check(self, event: Output) -> None:
        """Take no place for an output's but its own folder of the store, and no name of a disk that is a path."""
        path, store = PurePosixPath(event.path), PurePosixPath(self._container.engine.store)
        if path.parent != store / "outputs" or not _FOLDER.match(path.name):
            raise BuildError(f"the build container named {event.path!r} for an output, which is none of its store's")
        if not all(NAME.match(disk) for disk in event.more):
            raise BuildError("the build container named a disk that cannot be one", where=repr(event.more))

    def _beside(self, event: Output, folder: Path) -> Mapping[Path, bytes]:
        target = self._targets[event.index]
        sums = checksums(folder, target, destination.SUFFIXES[event.output], event.more)
        return {**self._describer.beside(folder, event), **sums}

    def _while_wanted(self, stream: Iterable[bytes]) -> Iterator[bytes]:
        with contextlib.closing(stream):  # type: ignore[type-var]  # whoever gives up ends what it comes from
            for data in stream:
                if self._abandoned.is_set():
                    raise AbandonedError
                yield data

    def bring_side_files(self, event: Output, folder: Path, name: str) -> list[str]:
        """Fetch what outside scripts left beside the image called ``name``; the paths it will have below ``folder``.

        Without a name the folder is for these files alone.
        """
        self._check(event)
        target = folder.absolute() / f"{name or FILES}.side-files"
        partial = self._partials.enter_context(destination.partial(target))
        try:
            self._side = destination.bring_side_files(self._container.fetch(event.path), partial, folder, name)
        except OSError as error:
            raise space.explained(error, target) from error
        return ["/".join(parts) for parts in self._side.files]

    def finish(self, memory: destination.Memory) -> None:
        """The build has succeeded: let all outputs appear, and remember them.

        Nothing appears where one of them cannot: it did not come whole, or would replace what no build wrote.
        """
        whole = [(arrival, arrival.coming.result()) for arrival in self._begun]
        outputs = {path: new for _, coming in whole for path, new in coming.items()}
        if not self._replace:
            targets = {arrival.target for arrival, _ in whole}
            destination.refuse_others([path for path in outputs if path not in targets], memory)
        side = self._side.left_to_do(memory, replace=self._replace) if self._side else None
        with _remembering():
            memory.announce({**outputs, **(side.coming if side else {})})
        for arrival, coming in whole:
            if arrival.event.output == "dir":
                self._close(arrival, coming[arrival.target])
        for path, new in outputs.items():
            _appear(path, functools.partial(destination.swap, new, path))
        if side:
            _appear(side.folder, side.appear)
        outputs_known = {arrival.target: arrival.facts for arrival, _ in whole}
        with _remembering():
            memory.remember_all([*outputs, *(side.coming if side else ())], outputs_known)

    def _close(self, arrival: Arrival, tree: Path) -> None:
        """Close an image's tree with root's own programs to other users, where they could come to it."""
        options = self._describer.prepared.request.outputs[arrival.event.index].options
        if options.get("closed", "yes") == "yes" and destination.close_tree(tree, arrival.target):
            self._container.note(f"{arrival.target} is for root alone (mode 0700; -o dir,closed=no leaves it open)")

    def __enter__(self) -> OutputDelivery:
        return self

    def __exit__(self, *_: object) -> None:
        self._abandoned.set()
        if "_threads" in vars(self):
            self._threads.shutdown(cancel_futures=True)
        self._partials.close()


def _is_whole(arrival: Arrival) -> bool:
    return arrival.coming.done() and not arrival.coming.cancelled() and arrival.coming.exception() is None


def _appear(path: Path, work: Callable[[], None]) -> None:
    try:
        work()
    except OSError as error:
        raise space.explained(error, path) from error


@contextlib.contextmanager
def _remembering() -> Iterator[None]:
    """Outputs are good also where nothing can be remembered of them: then they are written again next time."""
    try:
        yield
    except OSError as error:
        print(f"note: what was written cannot be remembered: {error.strerror or error}", file=sys.stderr)
