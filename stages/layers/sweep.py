"""What builds that were killed, and earlier versions, have left in a store: the next build removes it.

Nothing goes by its age. A folder in ``work/`` goes where nobody holds the lock beside it (it is made after its lock,
and removed before), a session where no build has pinned it, everything else where its own lock is free.
"""

from __future__ import annotations

import os

from blockdev.core import locks
from blockdev.core.atomic_file import remove_tree
from stages.layers import pins
from stages.layers.host_files import FOLDER
from stages.layers.store import LOCK, PART, Store

LAYOUT = ".layout-2"  # in a store's cache that has nothing of an earlier one


def sweep(store: Store) -> None:
    """Remove what dead builds left in ``work/``, ``locks/``, ``pins/`` and ``sessions/``."""
    _work(store)
    for name in os.listdir(store.root / "locks"):  # noqa: PTH208 - asked in each build: names are enough
        locks.sweep(store.root / "locks" / name)
    sessions = os.listdir(store.root / "sessions")  # noqa: PTH208
    own_files = len({pins.GATE}) + (store.pins is not None)
    if not sessions and len(os.listdir(store.root / pins.FOLDER)) <= own_files:  # noqa: PTH208
        return
    with pins.gate(store.root, cleaning=True):
        needed = pins.pinned(store.root)
    for name in sessions:  # each was pinned before it was made
        if f"sessions/{name}" not in needed:
            remove_tree(store.root / "sessions" / name)


def _work(store: Store) -> None:
    folder = store.root / "work"
    names = set(os.listdir(folder))  # noqa: PTH208
    for name in sorted(names):
        path = folder / name
        if name.endswith(PART):
            locks.sweep(path)
        elif not name.endswith(LOCK):
            if f"{name}{LOCK}" not in names and not locks.is_held(folder / f"{name}{LOCK}"):
                remove_tree(path)
        else:
            _sweep_workplace(store, name.removesuffix(LOCK))


def _sweep_workplace(store: Store, name: str) -> None:
    path = store.root / "work" / name
    handle = locks.take(path.with_name(name + LOCK), wait=False)
    if handle is not None:
        remove_tree(path)
        locks.give_up(path.with_name(name + LOCK), handle)


def drop_old_layout(store: Store) -> None:
    """Remove what earlier versions kept: nobody looked at it. Files of the user's machine, by digest, stay."""
    cache = store.root / "cache"
    mark = cache / LAYOUT
    if mark.exists():
        return
    for entry in cache.iterdir():
        if entry.name != FOLDER:
            remove_tree(entry) if entry.is_dir() else entry.unlink()
    mark.touch()
