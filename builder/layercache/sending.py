"""Layers on their way from the build container to caches: what each lacks, several at a time, the index last."""

from __future__ import annotations

import json
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from builder.layercache.caches import Cache, now
from builder.layercache.entries import Entry, merged, read_index, write_index
from builder.layercache.places import scratch
from builder.layercache.signatures import sign
from builder.registry import PassingError, persistently
from stages.errors import BuildError
from stages.packing import ENTRIES

AT_ONCE = 4
Identity = tuple[str, str, str]


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


def entries_of(data: Iterable[Mapping[str, Any]]) -> list[Entry]:
    """The entries that a build container has packed."""
    return [Entry(**{**each, "parts": tuple(each["parts"])}) for each in data]


class Sending:
    """Sends packed layers to ``caches``; ``known`` are the entries that each of them lists."""

    def __init__(self, caches: Sequence[Cache], known: Sequence[Sequence[Entry]]) -> None:
        self._caches = caches
        self._known = [{entry.identity for entry in entries} for entries in known]
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self.sent = [0] * len(caches)
        self.bytes = [0] * len(caches)

    def send(self, pieces: Iterable[bytes] | None, used: Iterable[Identity], on_read: Callable[[], None]) -> None:
        """Send the layers in a folder of the store, which comes as a tar (None: there are none).

        ``on_read`` is called when all has come. ``used`` are the entries whose layers the build has used. What goes
        wrong with a cache is said, and ends what goes there.
        """
        with tempfile.TemporaryDirectory(prefix="cache-", dir=scratch()) as folder:
            try:
                entries, blobs = _received(pieces, Path(folder)) if pieces is not None else ([], {})
            finally:
                on_read()
            for number, cache in enumerate(self._caches):
                try:
                    self._send_to(number, cache, entries, blobs, list(used))
                except BuildError as error:
                    cache.give_up(error)
        self._pool.shutdown()

    def _send_to(
        self,
        number: int,
        cache: Cache,
        entries: Sequence[Entry],
        blobs: Mapping[str, Path],
        used: Sequence[Identity],
    ) -> None:
        new = [entry for entry in entries if entry.identity not in self._known[number]]
        name = cache.spec.reference.repository if cache.spec.reference else cache.spec.name
        if cache.signing:
            new = [replace(entry, writer=cache.spec.writer, signed_as=name) for entry in new]
            new = [replace(entry, signature=sign(entry, cache.signing)) for entry in new]
        running: list[Future[None]] = [self._pool.submit(_send_one, cache, entry, blobs) for entry in new]
        errors = [error for future in running if isinstance(error := future.exception(), BuildError)]
        if errors:
            raise errors[0]
        for future in running:
            future.result()
        if not new and not used:
            return

        def change(data: bytes) -> bytes | None:
            try:
                listed = read_index(data)
            except ValueError as error:
                raise BuildError("something else lies there, and is left alone") from error
            changed = merged(listed, new, used, now())
            return None if changed is None else write_index(changed)

        persistently(lambda: cache.place.change_index(change, [entry.digest for entry in new]), lambda _: None, (0.5,))
        self.sent[number] = len(new)
        self.bytes[number] = sum(entry.size for entry in new)


def _send_one(cache: Cache, entry: Entry, blobs: Mapping[str, Path]) -> None:
    if cache.why:
        raise PassingError(cache.why)
    try:
        with blobs[entry.blob].open("rb") as data:
            cache.place.put_blob(entry.blob, entry.size, data)
        cache.place.put_entry(entry)
    except PassingError as error:
        cache.give_up(error)
        raise


def _received(pieces: Iterable[bytes], folder: Path) -> tuple[list[Entry], dict[str, Path]]:
    """The entries of a packed folder, and its blobs as files by digest."""
    entries: list[Entry] = []
    blobs: dict[str, Path] = {}
    stream: Any = _Stream(pieces)
    with tarfile.open(fileobj=stream, mode="r|") as members:
        for member in members:
            name = member.name.rpartition("/")[2]
            data: IO[bytes] | None = members.extractfile(member) if member.isreg() else None
            if data is None:
                continue
            if name == ENTRIES:
                entries = entries_of(json.loads(data.read()))
                continue
            file = folder / name
            with file.open("wb") as out:
                while piece := data.read(1 << 20):
                    out.write(piece)
            blobs[f"sha256:{name}"] = file
    return entries, blobs
