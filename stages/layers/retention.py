"""What is kept in a store, thing by thing, and in which order it would go.

What was not used for longest goes first (ages are compared to within a factor of two), and of equal ones what is
quickest to make again for its size. A layer goes after all that stand on it.
"""

from __future__ import annotations

import contextlib
import heapq
import math
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.layers.extent import occupied
from stages.layers.finished_output import read_done
from stages.layers.package_cache import LISTS, PRIVATE
from stages.layers.store import Record, Store
from stages.repositories.state import SAVED_LISTS
from stages.sandbox.paths import OF_SCRIPTS

UNUSED = 30 * 86400.0  # seconds after which what is cheap to have again goes in any cleaning
_HOUR = 3600.0
_LEAST = 4096  # bytes: what anything is taken to occupy
# Bytes in a second: what it takes to have these again.
_COMPRESSED, _DOWNLOADED, _WRITTEN = 20e6, 5e6, 200e6

Records = Mapping[str, tuple[int, Record | None]]


@dataclass(frozen=True)
class Wish:
    """What is to go: what was not used for ``older_than`` seconds, what is beyond ``max_bytes``, or everything."""

    older_than: float | None = None
    max_bytes: int | None = None
    everything: bool = False


@dataclass(frozen=True)
class Item:
    """One thing that can go, by the name it is pinned under.

    ``used`` is its last use in seconds since 1970, ``seconds`` what it takes to make it again, ``stands_on`` the names
    of the items without which it is of no use. ``until``: not used for so many seconds it goes in any cleaning.
    """

    name: str
    paths: tuple[Path, ...]
    bytes: int
    used: float
    seconds: float
    stands_on: tuple[str, ...] = ()
    layer: str = ""
    until: float = math.inf

    @property
    def is_stage(self) -> bool:
        """Is it a stage's record, with its layer."""
        return self.name.startswith("keys/")

    def is_needed(self, names: Collection[str]) -> bool:
        """Does one of these pins hold it, or a folder that it is in."""
        if self.layer and f"layers/{self.layer}" in names:
            return True
        parts = self.name.split("/")
        return any("/".join(parts[:end]) in names for end in range(2, len(parts) + 1))

    def worth(self, now: float) -> tuple[int, float, float]:
        """What goes first has the least."""
        age = int(math.log2(1 + max(0.0, now - self.used) / _HOUR))
        return -age, self.seconds / max(self.bytes, _LEAST), self.used


def list_records(store: Store, seen: Records | None = None) -> dict[str, tuple[int, Record | None]]:
    """All records with their files' inodes, by key (None: unusable); those ``seen`` earlier are not read again."""
    records: dict[str, tuple[int, Record | None]] = {}
    with os.scandir(store.root / "keys") as entries:
        for entry in entries:
            key = entry.name.removesuffix(".json")
            before = (seen or {}).get(key)
            records[key] = before if before and before[0] == entry.inode() else (entry.inode(), store.look(key))
    return records


def layers_of(records: Records) -> set[str]:
    """The layers that records are made of."""
    return {layer for _, record in records.values() if record for layer in record.chain()}


def list_items(store: Store, records: Records) -> list[Item]:
    """Everything in the store that can go."""
    return [
        *_stages(store, records),
        *_outputs(store),
        *_blocks(store),
        *_lists(store),
        *_caches(store),
    ]


def _stages(store: Store, records: Records) -> Iterator[Item]:
    usable = {key: record for key, (_, record) in records.items() if record}
    owner = {record.layer: f"keys/{key}" for key, record in usable.items() if record.layer}
    times: dict[str, float] = {}
    last: dict[str, float] = {}  # of layers: one is used when one on top of it is
    for key, record in usable.items():
        times[key] = _time(store.root / "keys" / f"{key}.json")
        for layer in record.chain():
            last[layer] = max(last.get(layer, 0.0), times[key])
    for key, (_, kept) in records.items():
        paths = (store.root / "keys" / f"{key}.json", store.root / "synced" / key)
        if kept is None:
            yield Item(f"keys/{key}", paths, 0, 0.0, 0.0, until=-math.inf)
            continue
        below = tuple(owner[layer] for layer in kept.below if layer in owner)
        used = max(times[key], last.get(kept.layer, 0.0))
        yield Item(f"keys/{key}", paths, kept.bytes, used, kept.seconds, below, kept.layer)


def _outputs(store: Store) -> Iterator[Item]:
    for folder in (store.root / "outputs").iterdir():
        length, seconds = occupied(folder), 0.0
        if finished := read_done(folder, any_boot=True):
            seconds = finished.seconds
        yield Item(f"outputs/{folder.name}", (folder,), length, _time(folder), seconds or length / _WRITTEN)


def _blocks(store: Store) -> Iterator[Item]:
    for path, status in _files(store.root / "blocks"):
        name = f"blocks/{path.name}"
        yield Item(name, (path,), status.st_blocks * 512, status.st_mtime, status.st_size / _COMPRESSED, until=UNUSED)


def _lists(store: Store) -> Iterator[Item]:
    """Package lists, a folder each; what of them is a layer's own file occupies nothing."""
    folders = [*(store.root / SAVED_LISTS).glob("*"), *(store.root / "cache").glob(f"*{LISTS}/*/*")]
    for folder in folders:
        length = sum(status.st_blocks * 512 for _, status in _files(folder) if status.st_nlink == 1)
        name = folder.relative_to(store.root).as_posix()
        yield Item(name, (folder,), length, _time(folder), length / _DOWNLOADED)


def _caches(store: Store) -> Iterator[Item]:
    """Downloads: packages and given files one by one, what only the same scripts share by the whole folder."""
    for folder in (store.root / "cache").iterdir():
        if folder.name.endswith(LISTS):
            continue
        if folder.name.startswith(OF_SCRIPTS) or folder.name.endswith(PRIVATE):
            for own in folder.glob("*/*"):
                length = occupied(own)
                name = own.relative_to(store.root).as_posix()
                yield Item(name, (own,), length, _time(own), length / _DOWNLOADED)
            continue
        for path, status in _files(folder):
            name, length = path.relative_to(store.root).as_posix(), status.st_blocks * 512
            yield Item(name, (path,), length, status.st_atime, length / _DOWNLOADED)


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for directory, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                path = Path(directory, name)
                yield path, path.lstat()


def _time(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0


def choose(items: Sequence[Item], needed: Collection[str], wish: Wish, now: float) -> list[Item]:
    """What is to go, in the order in which it should; nothing that is needed or that something left stands on."""
    free = [item for item in items if not item.is_needed(needed)]
    old = math.inf if wish.older_than is None else wish.older_than
    going = [item for item in free if wish.everything or now - item.used > min(old, item.until)]
    if wish.max_bytes is None:
        return going
    gone = {item.name for item in going}
    excess = sum(item.bytes for item in items if item.name not in gone) - wish.max_bytes
    for item in _in_order([item for item in items if item.name not in gone], {item.name for item in free}, now):
        if excess <= 0:
            break
        going.append(item)
        excess -= item.bytes
    return going


def _in_order(items: Sequence[Item], free: Collection[str], now: float) -> Iterator[Item]:
    """The free ones of these, least worth first, each after all that stand on it."""
    standing: Counter[str] = Counter()
    for item in items:
        standing.update(item.stands_on)
    heap = [
        (*item.worth(now), number) for number, item in enumerate(items) if item.name in free and not standing[item.name]
    ]
    heapq.heapify(heap)
    numbers = {item.name: number for number, item in enumerate(items)}
    while heap:
        item = items[heapq.heappop(heap)[-1]]
        yield item
        for name in item.stands_on:
            standing[name] -= 1
            if not standing[name] and name in free and name in numbers:
                heapq.heappush(heap, (*items[numbers[name]].worth(now), numbers[name]))
