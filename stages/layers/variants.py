"""Several records of one key: a build without cache runs stages again, and what stood on the earlier layers still does.

The newest record of a key has the key for its name, each earlier one that another build may stand on the key, a dot and
a digest of its layers. A build takes those of them that get it furthest, and of several such ways the newest.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable

from stages.layers.store import Record, Store

NamedRecord = tuple[str, Record]  # a record with its name in the store


def longest(store: Store, keys: Iterable[str]) -> dict[str, NamedRecord]:
    """The records of the first of these keys, each on top of the one before, as far as there are any."""
    keys, here = list(keys), set[str]()
    newest = _newest(store, keys, here)
    if len(newest) == len(keys):  # as nearly always: none of the earlier ones gets further, or is newer
        return newest
    others = _others(store)
    ways: dict[tuple[str, ...], tuple[NamedRecord, ...]] = {(): ()}
    for key in keys:
        following: dict[tuple[str, ...], tuple[NamedRecord, ...]] = {}
        for name in (key, *others.get(key, ())):
            record = store.find(name, here)
            if record and record.below in ways:
                way = (*ways[record.below], (name, record))
                chain = record.chain()
                if chain not in following or _age(way) > _age(following[chain]):
                    following[chain] = way
        if not following:
            break
        ways = following
    best = max(ways.values(), key=_age)
    return {record.key: (name, record) for name, record in best}


def _newest(store: Store, keys: list[str], here: set[str]) -> dict[str, NamedRecord]:
    """The newest records of the first of these keys, as far as each stands on the one before."""
    newest: dict[str, NamedRecord] = {}
    chain: tuple[str, ...] = ()
    for key in keys:
        record = store.find(key, here)
        if record is None or record.below != chain:
            break
        newest[key], chain = (key, record), record.chain()
    return newest


def _age(way: tuple[NamedRecord, ...]) -> float:
    return way[-1][1].created if way else 0.0


def _others(store: Store) -> dict[str, list[str]]:
    names = defaultdict(list)
    for file in os.listdir(store.root / "keys"):  # noqa: PTH208 - asked in each build: names are enough
        name = file.removesuffix(".json")
        key, dot, _ = name.partition(".")
        if dot:
            names[key].append(name)
    return names
