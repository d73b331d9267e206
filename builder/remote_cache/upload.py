"""Layers on their way from the build container to caches: what each lacks, several at a time, the index last.

Until the index names it a blob is part of no cache: of a build that fails after all, none is.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from blockdev.core.errors import BuildError
from blockdev.core.typed_json import read as read_json
from builder.registry.client import TransientError, with_retries
from builder.remote_cache.folder import Scratch
from builder.remote_cache.index import IndexEntry, merged, read_index, write_index
from builder.remote_cache.open import Cache, now
from builder.remote_cache.signatures import sign
from stages.protocol.events import CacheEntry
from stages.remote_cache.exporter import ENTRIES

AT_ONCE = 4
LARGEST_LIST = 48 << 20  # bytes
BLOB = re.compile(r"[0-9a-f]{64}")
Identity = tuple[str, str, str]
Fetch = Callable[[str], Iterable[bytes]]


class _Stream:
    """Pieces as something to read from."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes."""
        while len(self._rest) < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self._rest += piece
        data, self._rest = self._rest[:size], self._rest[size:]
        return data


def entry_of(packed: CacheEntry) -> IndexEntry:
    """The entry of a layer that a build container has packed."""
    return IndexEntry(**{**vars(packed), "parts": tuple(packed.parts)})


def signed(cache: Cache, entries: Sequence[IndexEntry]) -> list[IndexEntry]:
    """Entries as they are to lie in this cache."""
    if not cache.signing:
        return list(entries)
    name = cache.spec.reference.repository if cache.spec.reference else cache.spec.name
    with_writer = [replace(entry, writer=cache.spec.writer, signed_as=name) for entry in entries]
    return [replace(entry, signature=sign(entry, cache.signing)) for entry in with_writer]


def list_them(cache: Cache, new: Sequence[IndexEntry], used: Sequence[Identity]) -> None:
    """Make entries, which are there with their blobs, part of the cache, and note the use of others."""

    def change(data: bytes) -> bytes | None:
        try:
            listed = read_index(data)
        except ValueError as error:
            raise BuildError("something else lies there, and is left alone") from error
        changed = merged(listed, new, used, now())
        return None if changed is None else write_index(changed)

    with_retries(lambda: cache.place.change_index(change, [entry.digest for entry in new]), lambda _: None, (0.5,))


def add(cache: Cache, entries: Sequence[IndexEntry], blobs: Mapping[str, Path], used: Sequence[Identity]) -> None:
    """Give a cache entries with the blobs in these files, one after the other, and note the use of others."""
    new = signed(cache, entries)
    for entry in new:
        with blobs[entry.blob].open("rb") as data:
            cache.place.put_blob(entry.blob, entry.size, data)
        cache.place.put_entry(entry)
    list_them(cache, new, used)


class _UntilGivenUp(io.BufferedReader):
    """A file that no more can be read from once the build has come to nothing: what sends it ends, too."""

    def __init__(self, file: Path, given_up: threading.Event) -> None:
        super().__init__(io.FileIO(file))
        self._given_up = given_up

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes; BuildError where nobody wants them any more."""
        if self._given_up.is_set():
            raise BuildError("the build has come to nothing")
        return super().read(size)


class Upload:
    """Sends packed layers to ``caches``; ``known`` are the entries that each of them lists.

    ``fetch`` brings a folder of the store as a tar. Large layers go one by one while the build goes on (:meth:`begin`);
    the others, and what makes all of them part of the cache, when it has succeeded (:meth:`send`).
    """

    def __init__(self, caches: Sequence[Cache], listed: Sequence[Sequence[IndexEntry]], fetch: Fetch) -> None:
        self._caches = caches
        self._listed = [{entry.identity for entry in entries} for entries in listed]
        self._fetch = fetch
        self._folder = Scratch()
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._fetching = ThreadPoolExecutor(1)
        self._fetched: dict[str, Future[Path]] = {}
        self._early: dict[tuple[int, str], Future[None]] = {}
        self._given_up = threading.Event()
        self.sent = [0] * len(caches)
        self.bytes = [0] * len(caches)

    def begin(self, path: str, entry: IndexEntry) -> None:
        """Begin to fetch a layer from its folder in the store and to give its blob to the caches that lack it."""
        lacking = [number for number, identities in enumerate(self._listed) if entry.identity not in identities]
        if not lacking or entry.blob in self._fetched:
            return
        fetched = self._fetched[entry.blob] = self._fetching.submit(self._bring, path, entry.blob)
        for number in lacking:
            self._early[number, entry.blob] = self._pool.submit(self._put_early, self._caches[number], entry, fetched)

    def _bring(self, path: str, blob: str) -> Path:
        _, blobs = _received(self._pieces(path), self._folder.path)
        if blob not in blobs:
            raise BuildError("a layer that was packed is not there", where=path)
        return blobs[blob]

    def _pieces(self, path: str) -> Iterator[bytes]:
        for piece in self._fetch(path):
            if self._given_up.is_set():
                raise BuildError("the build has come to nothing")
            yield piece

    def _put_early(self, cache: Cache, entry: IndexEntry, fetched: Future[Path]) -> None:
        self._put(cache, entry, fetched.result())

    def send(self, path: str, used: Iterable[Identity], on_read: Callable[[], None]) -> None:
        """Send all other layers, which lie in the folder ``path`` of the store ("": there are none).

        ``on_read`` is called when all has come. ``used`` are the entries whose layers the build has used. What goes
        wrong with a cache is said, and ends what goes there.
        """
        try:
            try:
                folder = self._folder.path
                entries, blobs = _received(self._pieces(path), folder) if path else ([], {})
                blobs |= {blob: fetched.result() for blob, fetched in self._fetched.items()}
            finally:
                on_read()
            if any(entry.blob not in blobs for entry in entries):
                raise BuildError("a layer that was packed is not there", where=path)
            for number, cache in enumerate(self._caches):
                try:
                    self._send_to(number, cache, entries, blobs, list(used))
                except BuildError as error:
                    cache.give_up(error)
        finally:
            self.close()

    def close(self) -> None:
        """Send no more."""
        self._given_up.set()
        self._fetching.shutdown(cancel_futures=True)
        self._pool.shutdown(cancel_futures=True)
        self._folder.cleanup()

    def _send_to(
        self,
        number: int,
        cache: Cache,
        entries: Sequence[IndexEntry],
        blobs: Mapping[str, Path],
        used: Sequence[Identity],
    ) -> None:
        new = signed(cache, [entry for entry in entries if entry.identity not in self._listed[number]])
        running = [
            self._pool.submit(self._send_one, cache, entry, blobs, self._early.get((number, entry.blob)))
            for entry in new
        ]
        errors = [error for future in running if isinstance(error := future.exception(), BuildError)]
        if errors:
            raise errors[0]
        for future in running:
            future.result()
        if not new and not used:
            return
        list_them(cache, new, used)
        self.sent[number] = len(new)
        self.bytes[number] = sum(entry.size for entry in new)

    def _send_one(self, cache: Cache, entry: IndexEntry, blobs: Mapping[str, Path], early: Future[None] | None) -> None:
        if early:
            early.result()
        else:
            self._put(cache, entry, blobs[entry.blob])
        if cache.why:
            raise TransientError(cache.why)
        try:
            cache.place.put_entry(entry)
        except TransientError as error:
            cache.give_up(error)
            raise

    def _put(self, cache: Cache, entry: IndexEntry, file: Path) -> None:
        if cache.why:
            raise TransientError(cache.why)
        try:
            with _UntilGivenUp(file, self._given_up) as data:
                cache.place.put_blob(entry.blob, entry.size, data)
        except TransientError as error:
            cache.give_up(error)
            raise


def _received(pieces: Iterable[bytes], folder: Path) -> tuple[list[IndexEntry], dict[str, Path]]:
    """The entries of a packed folder, and its blobs as files by digest."""
    entries: list[IndexEntry] = []
    blobs: dict[str, Path] = {}
    stream: Any = _Stream(pieces)
    with tarfile.open(fileobj=stream, mode="r|") as members:
        for member in members:
            name = member.name.rpartition("/")[2]
            data: IO[bytes] | None = members.extractfile(member) if member.isreg() else None
            if data is None:
                continue
            if name == ENTRIES:
                listed = read_json(tuple[CacheEntry, ...], json.loads(data.read(LARGEST_LIST)))
                entries = [entry_of(packed) for packed in listed]
                continue
            if not BLOB.fullmatch(name):
                raise BuildError("something else lies among packed layers")
            file = folder / name
            with file.open("wb") as out:
                while piece := data.read(1 << 20):
                    out.write(piece)
            blobs[f"sha256:{name}"] = file
    return entries, blobs
