"""A cache in a registry: an OCI image index under a tag, over a manifest for each layer."""

from __future__ import annotations

import contextlib
import io
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic
from time import sleep as pause
from typing import IO, TypeVar

from blockdev.core.errors import BuildError
from builder.registry.client import MissingBlobError, Registry, TransientError, with_retries
from builder.registry.push import Reference
from builder.remote_cache.folder import PAUSES, TIMEOUT, Change
from builder.remote_cache.index import EMPTY, IndexEntry, digest_of, read_index, write_index
from builder.remote_cache.signatures import documents, tag
from stages.outputs.formats import media_types

RACES = 12  # how often others may write the index at the same time
# Another who read the index before it was written here writes it without what is new: that has happened, if it does,
# after so many times the seconds that reading and writing took here. Eight at once on two processors took 0.03 to 0.7.
SLOWER = 4.0
AT_MOST = 3.0  # seconds that are waited for that: what is lost is made again, and nobody waits for it for ever
Result = TypeVar("Result")


class InRegistry:
    """See ``builder.remote_cache.folder.Place``."""

    def __init__(self, reference: Reference, *, insecure: bool, authfile: Path | None) -> None:
        self._reference = reference
        self._first = Registry(reference.host, insecure, authfile, TIMEOUT)
        self._own = threading.local()
        self._lock = threading.Lock()
        self._empty_lock = threading.Lock()
        self._has_empty = False

    def _registry(self) -> Registry:
        """The registry, with connections of this thread's own."""
        registry: Registry | None = getattr(self._own, "registry", None)
        if registry is None:
            with self._lock:
                registry = self._own.registry = self._first.another()
        return registry

    def _try(self, work: Callable[[Registry], Result]) -> Result:
        return with_retries(lambda: work(self._registry()), lambda _: None, PAUSES)

    @property
    def _name(self) -> str:
        return self._reference.name

    def index(self) -> bytes:
        """See Place."""
        with self._lock:  # the first to come logs in for all
            return with_retries(lambda: self._first.manifest(self._name, self._reference.tag), lambda _: None, PAUSES)

    def blob(self, digest: str) -> Iterator[bytes]:
        """See Place."""
        return self._registry().blob(self._name, digest)

    def put_blob(self, digest: str, size: int, data: IO[bytes]) -> None:
        """See Place."""
        del size
        if not self._try(lambda registry: registry.has_blob(self._name, digest)):
            self._try(lambda registry: registry.put_blob(self._name, digest, data))

    def _put_small(self, data: bytes) -> None:
        self.put_blob(digest_of(data), len(data), io.BytesIO(data))

    def put_entry(self, entry: IndexEntry) -> None:
        """See Place."""
        with self._empty_lock:
            if not self._has_empty:
                self._put_small(EMPTY)
                self._has_empty = True
        self._put(entry.digest, entry.manifest())
        if entry.signature:
            text, config, manifest = documents(entry)
            self._put_small(text)
            self._put_small(config)
            self._put(tag(entry), manifest)

    def _put(self, reference: str, manifest: bytes, media_type: str = media_types.MANIFEST) -> None:
        self._try(lambda registry: registry.put_manifest(self._name, reference, manifest, media_type))

    def change_index(self, change: Change, added: Sequence[str]) -> None:
        """See Place. A registry cannot be told to write only where nothing has changed: so it is asked afterwards."""
        for _ in range(RACES):
            begun = monotonic()
            changed = change(self.index())
            if changed is None:
                return
            self._put_index(changed)
            longest = min(SLOWER * (monotonic() - begun), AT_MOST)
            pause(max(random.uniform(0.05, 0.2), longest))
            listed = {entry.digest for entry in read_index(self.index())}
            if listed.issuperset(added):
                return
            pause(random.uniform(0, longest))  # not again at the same time as those who have lost, too
        raise TransientError("too many others write to it at the same time")

    def _put_index(self, data: bytes) -> None:
        try:
            self._put(self._reference.tag, data, media_types.INDEX)
        except BuildError as error:
            if isinstance(error, TransientError) and not isinstance(error, MissingBlobError):
                raise
            # It lists what was removed meanwhile: without that.
            there = [entry for entry in read_index(data) if self.has_entry(entry)]
            self._put(self._reference.tag, write_index(there), media_types.INDEX)

    def has_entry(self, entry: IndexEntry) -> bool:
        """Is this entry's manifest there."""
        return self._try(lambda registry: registry.has_manifest(self._name, entry.digest))

    def remove(self, entry: IndexEntry) -> bool:
        """Delete an entry's manifest, and its signature's; False where the registry deletes nothing."""
        gone = self._try(lambda registry: registry.delete_manifest(self._name, entry.digest))
        if gone and entry.signature:
            with contextlib.suppress(BuildError):
                signature = self._try(lambda registry: registry.manifest(self._name, tag(entry)))
                if signature:
                    self._try(lambda registry: registry.delete_manifest(self._name, digest_of(signature)))
        return gone
