"""The caches of one build: opened as the options say, asked once for their indices, and given up where they fail."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from blockdev.core.errors import BuildError
from builder.remote_cache.folder import CacheBackend, Folder
from builder.remote_cache.index import IndexEntry, read_index
from builder.remote_cache.signatures import is_signed, private_key, public_keys
from builder.remote_cache.spec import Spec

Note = Callable[[str], None]


PATIENCE = 60.0  # seconds for all indices


def open_place(spec: Spec) -> CacheBackend:
    """The place of a cache. Raises UsageError."""
    if spec.kind == "dir":
        return Folder(spec.path)
    if spec.kind == "gha":
        from builder.remote_cache.github_actions import InActions

        return InActions(spec.scope)
    from builder.remote_cache.registry import InRegistry

    assert spec.reference is not None
    return InRegistry(spec.reference, insecure=spec.insecure, authfile=spec.authfile)


@dataclass
class Cache:
    """One cache. ``why`` says why it is of no use any more (""): that is told once, with ``note``."""

    spec: Spec
    place: CacheBackend
    note: Note
    keys: tuple[ec.EllipticCurvePublicKey, ...] = ()
    signing: ec.EllipticCurvePrivateKey | None = None
    why: str = ""
    _has_warned: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def warn(self, what: str) -> None:
        """Say once that something is wrong with this cache."""
        with self._lock:
            has_warned, self._has_warned = self._has_warned, True
        if not has_warned:
            self.note(f"warning: the cache {self.spec.name}: {what}; the build goes on without that")

    def give_up(self, error: BuildError) -> None:
        """It has failed: nothing more is asked of it."""
        self.why = error.what
        self.warn(error.what)

    def entries(self) -> list[IndexEntry]:
        """What it lists and may be believed; nothing where it cannot be asked."""
        try:
            listed = read_index(self.place.index())
        except BuildError as error:
            self.give_up(error)
            return []
        except ValueError:
            self.give_up(BuildError("what lies there is no cache"))
            return []
        if not self.keys:
            return listed
        good = [entry for entry in listed if is_signed(entry, self.keys, self.spec.writers)]
        if listed and not good and not self.signing:
            self.warn("none of its entries is signed by whom key= and writers= name")
        return good


class IndexFetch:
    """The indices of caches, fetched side by side while the build container starts."""

    def __init__(self, caches: Iterable[Cache]) -> None:
        self._futures: list[tuple[Cache, Future[list[IndexEntry]]]] = []
        for cache in caches:
            future: Future[list[IndexEntry]] = Future()
            threading.Thread(target=self._ask, args=(cache, future), daemon=True).start()
            self._futures.append((cache, future))

    @staticmethod
    def _ask(cache: Cache, future: Future[list[IndexEntry]]) -> None:
        try:
            future.set_result(cache.entries())
        except BaseException as error:  # noqa: BLE001 - whoever waits for it gets it
            future.set_exception(error)

    def all(self) -> list[tuple[Cache, list[IndexEntry]]]:
        """Each cache with its entries, in order."""
        end = time.monotonic() + PATIENCE
        return [(cache, self._answer(cache, future, end)) for cache, future in self._futures]

    @staticmethod
    def _answer(cache: Cache, future: Future[list[IndexEntry]], end: float) -> list[IndexEntry]:
        try:
            return future.result(max(0.0, end - time.monotonic()))
        except TimeoutError:
            cache.give_up(BuildError("it is too slow to be of use"))
            return []


def open_caches(
    reading: Sequence[Spec], writing: Sequence[Spec], note: Note, environment: Mapping[str, str] = os.environ
) -> tuple[list[Cache], list[Cache]]:
    """The caches to read from and to write to. Raises UsageError for a key that cannot be read, before any work.

    A pull request from a fork writes to none, unless the cache says ``force=true``.
    """
    sources = [Cache(spec, open_place(spec), note, public_keys(spec.key) if spec.key else ()) for spec in reading]
    refused = is_from_fork(environment)
    targets = []
    for spec in writing:
        if refused and not spec.force:
            note(f"nothing goes to the cache {spec.name}: this is a pull request from a fork (force=true writes)")
            continue
        signing = private_key(spec.sign) if spec.sign else None  # what others signed, or nobody, is written again
        targets.append(Cache(spec, open_place(spec), note, (signing.public_key(),) if signing else (), signing))
    return sources, targets


def now() -> float:
    """Seconds since 1970."""
    return time.time()


EVENTS = ("pull_request", "pull_request_target", "pull_request_review", "pull_request_review_comment")


def is_from_fork(environment: Mapping[str, str]) -> bool:
    """Does this run for a pull request from a fork; yes where it is for one, and nothing says from where.

    The variables and the file are GitHub's (docs.github.com, "Store information in variables" and "Webhook events").
    """
    if environment.get("GITHUB_EVENT_NAME") not in EVENTS:
        return False
    try:
        event: Any = json.loads(Path(environment["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
        request = event["pull_request"]
        head, base = request["head"]["repo"], request["base"]["repo"]
        return head is None or head["full_name"] != base["full_name"]
    except (OSError, ValueError, KeyError, TypeError):
        return True
