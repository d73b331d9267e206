"""Letting go of what a cache elsewhere holds: by age and by size."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from blockdev.core.errors import BuildError, UsageError
from builder.remote_cache.folder import Folder
from builder.remote_cache.index import EMPTY, IndexEntry, digest_of, read_index, write_index
from builder.remote_cache.open import now, open_place
from builder.remote_cache.registry import InRegistry
from builder.remote_cache.signatures import documents
from builder.remote_cache.spec import Spec

AT_ONCE = 4
UNLISTED = 86400.0  # seconds that a folder's blob may lie there before an entry names it: no build takes longer
Identity = tuple[str, str, str]


@dataclass(frozen=True)
class Pruned:
    """What went: entries and their bytes, what is left of both, and whether the place removes what is not listed."""

    entries: int
    bytes: int
    left: int
    left_bytes: int
    deleted: bool


def to_go(
    entries: Sequence[IndexEntry], *, older_than: float | None, keep_size: int | None, now: float
) -> list[IndexEntry]:
    """What goes, in order: not used for ``older_than`` seconds, and the longest unused until ``keep_size`` bytes fit.

    An entry is used when one on top of it is; of those of one build the topmost goes first: without it the others are
    still of use.
    """
    last = _last_uses(entries)
    depth = _depths(entries)
    order = sorted(entries, key=lambda each: (last[each.identity], -depth[each.identity]))
    going = [each for each in order if older_than is not None and now - last[each.identity] > older_than]
    gone = {each.identity for each in going}
    left = [each for each in order if each.identity not in gone]
    while keep_size is not None and left and _size(left) > keep_size:
        going.append(left.pop(0))
    return going


def _last_uses(entries: Sequence[IndexEntry]) -> dict[Identity, float]:
    """When each entry, or one on top of it, was used last."""
    of_chain: dict[str, float] = {}
    last: dict[Identity, float] = {}
    depths = _depths(entries)
    for entry in sorted(entries, key=lambda each: depths[each.identity], reverse=True):
        last[entry.identity] = max(entry.used, of_chain.get(entry.above, 0.0))
        of_chain[entry.below] = max(of_chain.get(entry.below, 0.0), last[entry.identity])
    return last


def _depths(entries: Sequence[IndexEntry]) -> dict[Identity, int]:
    """How many layers lie below each entry."""
    parents = {entry.above: entry.below for entry in entries if entry.layer}
    depths = {"": 0}

    def depth(chain: str) -> int:
        path: list[str] = []
        while chain not in depths and chain in parents and len(path) <= len(parents):
            path.append(chain)
            chain = parents[chain]
        below = depths.setdefault(chain, 0)
        for each in reversed(path):
            below += 1
            depths[each] = below
        return below

    return {entry.identity: depth(entry.above) for entry in entries}


def _size(entries: Sequence[IndexEntry]) -> int:
    return sum({entry.blob: entry.size for entry in entries}.values())


def prune(spec: Spec, *, older_than: float | None, keep_size: int | None) -> Pruned:
    """Take entries out of a cache's index, then remove what they stood for. Raises BuildError, UsageError.

    First the index: nobody is led to what goes. A build that has just read it finds a layer gone, and runs the stage.
    """
    backend = open_place(spec)
    if not isinstance(backend, InRegistry | Folder):
        raise UsageError(f"{spec.name} is cleaned by GitHub", hint="what was not used for a week goes by itself")
    going: list[IndexEntry] = []
    kept: list[IndexEntry] = []

    def change(data: bytes) -> bytes | None:
        try:
            entries = read_index(data)
        except ValueError as error:
            raise BuildError("what lies there is no cache", where=spec.name, hint="name the cache's own tag") from error
        going[:] = to_go(entries, older_than=older_than, keep_size=keep_size, now=now())
        gone = {each.identity for each in going}
        kept[:] = [each for each in entries if each.identity not in gone]
        return write_index(kept) if going else None

    backend.change_index(change, [])
    return Pruned(len(going), _size(going), len(kept), _size(kept), _remove(backend, going, kept))


def _remove(backend: InRegistry | Folder, going: Sequence[IndexEntry], kept: Sequence[IndexEntry]) -> bool:
    """Remove the manifests (a folder's blobs, too) of what goes; False where a registry does not."""
    if isinstance(backend, Folder):
        needed = {each.blob for each in kept} | {each.digest for each in kept}
        backend.remove_blobs([name for each in going for name in (each.blob, each.digest) if name not in needed])
        signatures = {digest_of(data) for each in kept if each.signature for data in documents(each)}
        backend.remove_unlisted({*needed, *signatures, digest_of(EMPTY)}, now() - UNLISTED)
        return True
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return all(pool.map(backend.remove, going))
