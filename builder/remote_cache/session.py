"""The host's side of a build that has caches: answers what the build container asks (``stages.protocol.emit``)."""

from __future__ import annotations

import json
import tarfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from blockdev.core.errors import BuildError
from builder.remote_cache.build_images import BuildImages
from builder.remote_cache.download import Candidate, Download
from builder.remote_cache.index import IndexEntry
from builder.remote_cache.open import Cache, IndexFetch
from builder.remote_cache.upload import Fetch, Identity, Upload, entry_of
from stages.protocol import events
from stages.protocol.control import CACHE_BLOB, REFUSED

Send = Callable[[str], None]


@dataclass
class CacheSession:
    """Caches to read from and to write to, for one build. ``fetch`` brings a folder of the store as a tar."""

    sources: list[Cache]
    targets: list[Cache]
    note: Callable[[str], None]
    fetch: Fetch = lambda _: ()
    _asked: IndexFetch | None = None
    _listed: list[tuple[Cache, list[IndexEntry]]] = field(default_factory=list)
    _candidates: dict[str, list[Candidate]] = field(default_factory=dict)
    _fetching: Download | None = None
    _sending: Upload | None = None
    _thread: threading.Thread | None = None
    _read: threading.Event = field(default_factory=threading.Event)
    _keys: frozenset[str] = frozenset()
    images: BuildImages = field(init=False)

    def __post_init__(self) -> None:
        self.images = BuildImages(self.sources, self.targets, self.note)

    def wishes(self) -> dict[str, str]:
        """What the request says of them."""
        settings = {"read": "yes"} if self.sources else {}
        if self.targets:
            settings["write"] = "max" if any(cache.spec.mode == "max" for cache in self.targets) else "min"
        return settings

    def begin(self) -> None:
        """Ask the caches for their indices; nobody waits for them yet."""
        self._asked = self.images.asked = IndexFetch([*self.sources, *self.targets])

    def handle(self, event: events.Event, send: Send) -> bool:
        """Answer an event if it is about caches; tells whether it was."""
        match event:
            case events.Lookup():
                send(json.dumps(self._look(frozenset(event.keys))))
            case events.Fetch():
                self._fetch_no_more()
                self._fetching = Download(event.blobs, self._candidates)
            case events.Want() if event.path.startswith(CACHE_BLOB):
                digest = event.path.removeprefix(CACHE_BLOB)
                send(self._fetching.piece(digest, event.offset) if self._fetching else REFUSED)
            case events.Bad():
                self._refuse(event.blob, event.why)
            case events.Packed():
                self._begun().begin(event.path, entry_of(event.entry))
            case events.Share():
                self._share(event.path)
            case events.Shared():
                if self._thread is None:
                    self._share("")
                self._read.wait()
                send("fetched")
            case _:
                return False
        return True

    def _look(self, keys: frozenset[str]) -> dict[str, Any]:
        """What the caches offer for these keys, and which entries all that are written to have already."""
        if self._asked is None:
            return {"offers": [], "held": []}
        self._listed, self._keys = self._asked.all(), self._keys | keys
        offers: list[dict[str, Any]] = []
        candidates: dict[str, list[Candidate]] = {}
        seen: set[tuple[Identity, str]] = set()
        for cache, entries in self._listed[: len(self.sources)]:
            for entry in entries:
                if entry.key not in keys:
                    continue
                candidates.setdefault(entry.blob, []).append(Candidate(cache, entry))
                if (entry.identity, entry.blob) not in seen:
                    seen.add((entry.identity, entry.blob))
                    offers.append(_offer(cache, entry))
        self._candidates |= candidates
        held: set[tuple[str, str]] | None = None
        for _, entries in self._listed[len(self.sources) :]:
            names = {(entry.key, entry.layer) for entry in entries}
            held = names if held is None else held & names
        return {"offers": offers, "held": sorted(held or ())}

    def _refuse(self, blob: str, why: str) -> None:
        for cache, entries in self._listed[: len(self.sources)]:
            if any(entry.blob == blob for entry in entries):
                cache.warn(f"a layer was refused: {why}")
                return

    def _begun(self) -> Upload:
        """What sends, from the first layer on."""
        if self._sending is None:
            listed = [entries for _, entries in self._listed[len(self.sources) :]]
            self._sending = Upload(self.targets, listed, self.fetch)
        return self._sending

    def _share(self, path: str) -> None:
        """Begin to send what the build container has packed ("": nothing, but what was used is noted)."""
        sending = self._begun()
        listed = [entry for _, entries in self._listed[len(self.sources) :] for entry in entries]
        used = {entry.identity for entry in listed if entry.key in self._keys}

        def work() -> None:
            try:
                sending.send(path, used, self._read.set)
            except (BuildError, OSError, ValueError, TypeError, RecursionError, tarfile.TarError) as error:
                self.note(f"warning: the layers did not come to any cache: {error}")
            finally:
                self._read.set()

        self._thread = threading.Thread(target=work, daemon=True)
        self._thread.start()

    def finish(self) -> list[str]:
        """Wait until all has been sent, the build images last; sentences about it."""
        self._fetch_no_more()
        lines = []
        if self._thread and self._sending:
            self._thread.join()
            lines = [
                f"cache: {sent} layers and outputs sent to {cache.spec.name} ({length / 1e6:.1f} MB)"
                for cache, sent, length in zip(self.targets, self._sending.sent, self._sending.bytes, strict=True)
                if sent
            ]
        return [*lines, *self.images.send()]

    def close(self) -> None:
        """Fetch no more; of a build that has come to nothing, send no more."""
        self._fetch_no_more()
        if self._sending and not self._thread:
            self._sending.close()

    def _fetch_no_more(self) -> None:
        if self._fetching:
            self._fetching.close()
            self._fetching = None


def _offer(cache: Cache, entry: IndexEntry) -> dict[str, Any]:
    return {
        "key": entry.key,
        "below": entry.below,
        "layer": entry.layer,
        "blob": entry.blob,
        "size": entry.size,
        "unpacked": entry.unpacked,
        "content": entry.content,
        "parts": list(entry.parts),
        "source": cache.spec.name,
    }
