"""Cleaning the store: what may go."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from stages.caches import LISTS
from stages.repositories import SAVED_LISTS
from stages.store import BASE, Record, Store, occupied, remove_tree

BLOCK_AGE = 30 * 86400.0  # seconds


def prune(store: Store, *, older_than: float | None, max_bytes: int | None, everything: bool) -> dict[str, int]:
    """Remove records (oldest use first), and every layer, output and work folder that nothing names any more.

    ``older_than`` is in seconds of age, ``max_bytes`` what layers and outputs may occupy afterwards. Waits for running
    builds. Returns how many records, layers and outputs went, and the bytes freed.
    """
    with store.alone():
        return _prune(store, older_than, max_bytes, everything)


def _prune(store: Store, older_than: float | None, max_bytes: int | None, everything: bool) -> dict[str, int]:
    before = occupied(store.root)
    store.sweep()
    now = time.time()
    usable = {record.key: record for record in store.records()}
    oldest = _oldest_first(store, usable)
    going = {file.stem for file in (store.root / "keys").glob("*.json") if everything or file.stem not in usable}
    if older_than is not None:
        going.update(key for key, used in oldest if now - used > older_than)
    outputs = _outputs_to_go(store, now, older_than, max_bytes, everything)
    if max_bytes is not None:
        excess = sum(record.bytes for key, record in usable.items() if key not in going) - max_bytes
        for key, _ in oldest:
            if excess > 0 and key not in going:
                going.add(key)
                excess -= usable[key].bytes
    for key in going:
        store.forget(key)
    kept = {layer for key, record in usable.items() if key not in going for layer in record.chain()} | {BASE}
    layers = [folder for folder in (store.root / "layers").iterdir() if folder.name not in kept]
    lists = [path for path in (store.root / "digests").iterdir() if path.name not in kept]
    rest = [
        *lists,
        *(store.root / "sessions").iterdir(),
        *_blocks_to_go(store, now, older_than, bool(outputs) or everything),
    ]
    if everything:
        rest += [path for name in ("cache", "last", "repositories") for path in (store.root / name).iterdir()]
    for path in (*layers, *outputs, *rest):
        remove_tree(path) if path.is_dir() else path.unlink()
    for folder in _lists_to_go(store, now, older_than, max_bytes is not None):
        remove_tree(folder)
    freed = max(0, before - occupied(store.root))
    return {"records": len(going), "layers": len(layers), "outputs": len(outputs), "freed": freed}


def _oldest_first(store: Store, records: Mapping[str, Record]) -> list[tuple[str, float]]:
    """Keys with the time of their last use (seconds since 1970): a layer is used when one on top of it is."""
    used: dict[str, float] = {}
    times = {key: (store.root / "keys" / f"{key}.json").stat().st_mtime for key in records}
    for key, record in records.items():
        for layer in record.chain():
            used[layer] = max(used.get(layer, 0.0), times[key])
    last = {key: max(times[key], used.get(record.layer, 0.0)) for key, record in records.items()}
    # Among those of one build the topmost goes first: without it the others are still of use.
    return sorted(last.items(), key=lambda item: (item[1], -len(records[item[0]].below)))


def _lists_to_go(store: Store, now: float, older_than: float | None, shrink: bool) -> list[Path]:
    """Saved package lists that were not used for long or, where room is wanted, that no layer has any more."""
    folders, cached = list((store.root / SAVED_LISTS).glob("*")), list((store.root / "cache").glob(f"*{LISTS}/*/*"))
    if shrink:
        return cached + [folder for folder in folders if all(file.stat().st_nlink == 1 for file in folder.iterdir())]
    folders += cached
    return [folder for folder in folders if older_than is not None and now - folder.stat().st_mtime > older_than]


def _outputs_to_go(
    store: Store, now: float, older_than: float | None, max_bytes: int | None, everything: bool
) -> list[Path]:
    """Outputs can be written again from their layers: where room is wanted, they go before any layer does."""
    folders = list((store.root / "outputs").iterdir())
    held = sum(occupied(store.root / name) for name in ("layers", "outputs"))
    if everything or (max_bytes is not None and held > max_bytes):
        return folders
    return [folder for folder in folders if older_than is not None and now - folder.stat().st_mtime > older_than]


def _blocks_to_go(store: Store, now: float, older_than: float | None, all_of_them: bool) -> list[Path]:
    """Compressed blocks of outputs: they go with those where room is wanted, else when unused for a month."""
    age = min(older_than, BLOCK_AGE) if older_than is not None else BLOCK_AGE
    blocks = [path for path in (store.root / "blocks").rglob("*") if path.is_file()]
    return [path for path in blocks if all_of_them or now - path.stat().st_mtime > age]
