"""Cleaning the store: what may go.

Cleaning runs beside builds and waits for none: what a build needs is pinned (``stages.layers.pins``) and stays. What
goes is renamed first, and removed after that.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blockdev.core import locks
from blockdev.core.atomic_file import remove_tree
from stages.layers import pins, size_note
from stages.layers.extent import occupied
from stages.layers.link_groups import FOLDER as LINKS
from stages.layers.retention import Item, Records, Wish, choose, layers_of, list_items, list_records
from stages.layers.store import BASE, Store
from stages.layers.sweep import sweep


def prune(store: Store, *, older_than: float | None, max_bytes: int | None, everything: bool) -> dict[str, int]:
    """Remove what is to go, and every layer that no record names and no build needs.

    ``older_than`` is in seconds since the last use, ``max_bytes`` what the store may occupy afterwards. Returns how
    many ``records``, ``layers`` and ``outputs`` went, the bytes ``freed`` and those ``left``.
    """
    sweep(store)
    begun = time.time()
    records = list_records(store)
    items = list_items(store, records)
    with pins.gate(store.root, cleaning=True):
        needed = pins.pinned(store.root)
    going = choose(items, needed, Wish(older_than, max_bytes, everything), begun)
    trash = _Trash(store)
    with pins.gate(store.root, cleaning=True):
        needed = pins.pinned(store.root)
        taken = [item for item in going if not item.is_needed(needed) and _take(item, trash, begun)]
        layers = _unnamed(store, records, needed)
        for layer in layers:
            trash.throw(layer)
        _remove_lists(store, needed)
        if (store.root / "agent").is_dir():  # earlier versions ran code from there
            trash.throw(store.root / "agent")
        if everything and not needed:
            _take_rest(store, trash)
    freed = sum(item.bytes for item in taken if not item.is_stage)
    lengths = {record.layer: record.bytes for _, record in records.values() if record}
    freed += sum(
        lengths.get(path.name) or (occupied(trash.folders[path]) if path in trash.folders else 0) for path in layers
    )
    trash.remove()
    left = sum(item.bytes for item in items) - sum(item.bytes for item in taken)
    size_note.note(store, left)
    return {
        "records": sum(item.is_stage for item in taken),
        "layers": len(layers),
        "outputs": sum(item.name.startswith("outputs/") for item in taken),
        "freed": freed,
        "left": left,
    }


def let_go(store: Store, names: Sequence[str]) -> None:
    """Remove what this build has no use for any more (``outputs/<key>``), but for what other builds need."""
    trash = _Trash(store)
    with pins.gate(store.root, cleaning=True):
        needed = pins.pinned(store.root, store.pins)
        for name in names:
            if name not in needed:
                with contextlib.suppress(FileNotFoundError):
                    trash.throw(store.root / name)
    trash.remove()


@dataclass
class _Trash:
    """Takes things out of the store's sight; folders are renamed to where no lock holds them, and removed later.

    If this process dies meanwhile the next sweep does it. Nothing is made for that: it must work on a full disk.
    """

    store: Store
    folders: dict[Path, Path] = field(default_factory=dict)

    def throw(self, path: Path) -> None:
        """Take a file or folder away; raises FileNotFoundError."""
        if path.is_symlink() or not path.is_dir():
            path.unlink()
            return
        self.folders[path] = self.store.root / "work" / secrets.token_hex(6)
        path.rename(self.folders[path])

    def remove(self) -> None:
        """Remove the folders for good."""
        for path in self.folders.values():
            remove_tree(path)


def _take(item: Item, trash: _Trash, begun: float) -> bool:
    """Take an item out of the store, unless it was used since; within the gate."""
    try:
        if item.paths[0].lstat().st_mtime > begun:
            return False
        for path in item.paths:
            with contextlib.suppress(FileNotFoundError):
                trash.throw(path)
    except FileNotFoundError:
        return False
    return True


def _unnamed(store: Store, seen: Records, needed: Collection[str]) -> list[Path]:
    """Layers that nothing needs: no record's chain has them, and no build; within the gate."""
    kept = layers_of(list_records(store, seen)) | {BASE}
    folders = list((store.root / "layers").iterdir())
    return [folder for folder in folders if folder.name not in kept and f"layers/{folder.name}" not in needed]


def _remove_lists(store: Store, needed: Collection[str]) -> None:
    """Let go of what is kept beside layers that have gone, and of what nobody writes any more; within the gate."""
    for file in [file for name in ("digests", LINKS) for file in (store.root / name).iterdir()]:
        if file.name.startswith("."):
            locks.sweep(file)
        elif f"layers/{file.name}" not in needed and not (store.root / "layers" / file.name).is_dir():
            file.unlink(missing_ok=True)


def _take_rest(store: Store, trash: _Trash) -> None:
    """Take what else there is where everything goes and no build runs: what places had last, states, empty folders."""
    for name in ("last", "repositories"):
        for path in list((store.root / name).iterdir()):
            trash.throw(path)
    for directory, _, _ in os.walk(store.root / "cache", topdown=False):
        if directory != str(store.root / "cache"):
            with contextlib.suppress(OSError):
                Path(directory).rmdir()
