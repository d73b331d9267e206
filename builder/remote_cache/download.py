"""Blobs of caches on their way to the build container: fetched a few ahead, compared with their digests, handed on."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from blockdev.core.errors import BuildError
from builder.registry.client import TransientError, with_retries
from builder.remote_cache.folder import PATIENCE, PAUSES, SLOWEST, Scratch, with_deadline
from builder.remote_cache.index import IndexEntry
from builder.remote_cache.open import Cache
from stages.protocol.control import REFUSED

AHEAD = 8  # blobs
AT_ONCE = 4
PIECE = 3 << 20  # bytes that travel in one line: a multiple of three, so that base64 pads the last one only


@dataclass(frozen=True)
class Candidate:
    """Where a blob can be had."""

    cache: Cache
    entry: IndexEntry


class Download:
    """Brings blobs in the order in which they will be wanted; each is kept until it has been handed on."""

    def __init__(self, digests: Sequence[str], candidates: Mapping[str, Sequence[Candidate]]) -> None:
        self._folder = Scratch()
        self._digests = list(digests)
        self._candidates = candidates
        self._at_once = threading.Semaphore(AT_ONCE)
        self._closed = False
        self._begun: dict[str, Future[Path | None]] = {}

    def piece(self, digest: str, offset: int) -> str:
        """A piece of a blob as a line for the build container; REFUSED where the blob cannot be had."""
        self._begin(digest)
        file = self._arrived(digest)
        if file is None:
            return REFUSED
        try:
            with file.open("rb") as data:
                data.seek(offset)
                piece = data.read(PIECE)
                if data.tell() >= file.stat().st_size:  # handed on: who wants it once more has it fetched once more
                    file.unlink()
                    del self._begun[digest]
        except OSError:
            return REFUSED
        return base64.b64encode(piece).decode("ascii")

    def file(self, digest: str) -> Path | None:
        """The file of a blob, for as long as nothing is closed; None where it cannot be had."""
        self._begin(digest)
        return self._arrived(digest)

    def _arrived(self, digest: str) -> Path | None:
        """The file of a blob, as soon as it is whole; None where it does not come, or not in time."""
        sources = self._candidates.get(digest, ())
        patience = PATIENCE + max((source.entry.size for source in sources), default=0) / SLOWEST
        try:
            return self._begun[digest].result(patience)
        except TimeoutError:
            for source in sources:
                source.cache.give_up(BuildError("it is too slow to be of use"))
            return None

    def _begin(self, digest: str) -> None:
        """Begin to fetch a blob, and those that come after it."""
        index = self._digests.index(digest) if digest in self._digests else len(self._digests)
        for each in [digest, *self._digests[index + 1 : index + 1 + AHEAD]]:
            if each not in self._begun:
                self._begun[each] = Future()
                # Of no executor, which would have the command wait in the end for a server that never comes to one.
                threading.Thread(target=self._work, args=(each, self._begun[each]), daemon=True).start()

    def _work(self, digest: str, future: Future[Path | None]) -> None:
        with self._at_once:
            try:
                future.set_result(None if self._closed else self._fetch(digest))
            except BaseException as error:  # noqa: BLE001 - whoever waits for it gets it
                future.set_exception(error)

    def _fetch(self, digest: str) -> Path | None:
        for candidate in self._candidates.get(digest, ()):
            if candidate.cache.why:
                continue
            file = self._folder.path / digest.replace(":", "-")
            try:
                with_retries(lambda: _download(candidate, file), lambda _: None, PAUSES)  # noqa: B023 - done by then
            except TransientError as error:  # it has been asked several times
                candidate.cache.give_up(error)
            except BuildError as error:
                candidate.cache.warn(error.what)
            except OSError as error:
                candidate.cache.warn(f"a layer cannot be kept for a moment: {error.strerror}")
            else:
                return file
        return None

    def close(self) -> None:
        """Fetch no more, and leave nothing behind."""
        self._closed = True
        self._folder.cleanup()


def _download(candidate: Candidate, file: Path) -> None:
    """Fetch a blob into a file; raises BuildError where it is another one than was announced."""
    entry, digest, length = candidate.entry, hashlib.sha256(), 0
    with file.open("wb") as out:
        for piece in with_deadline(candidate.cache.place.blob(entry.blob), entry.size):
            length += len(piece)
            if length > entry.size:
                raise BuildError("a layer is longer than announced, and was refused")
            digest.update(piece)
            out.write(piece)
    if length < entry.size:
        raise TransientError("a layer broke off")
    if f"sha256:{digest.hexdigest()}" != entry.blob:
        raise BuildError("a layer is not what its digest says, and was refused")
