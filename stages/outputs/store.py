"""Finished outputs in the store, each in the folder of its key: images, disks, archives, and what lies beside them.

What writes one holds its lock, has it in a workplace first, and puts it here whole. Nothing that lies here is handed
on before it was compared with what was written (``stages.layers.finished_output``).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

from blockdev.core.atomic_file import remove_tree
from stages.layers.finished_output import FinishedOutput, damage, damaged, read_done
from stages.layers.store import Store


@dataclass(frozen=True)
class OutputStore:
    """The outputs of a store, as one build sees them."""

    store: Store
    _sound: set[str] = field(default_factory=set)  # keys of outputs that this very build has written or compared

    def folder(self, key: str) -> Path:
        """Where an output is or will be."""
        return self.store.root / "outputs" / key

    def lock(self, key: str) -> contextlib.AbstractContextManager[bool]:
        """Hold the lock of an output: nobody else writes it meanwhile."""
        return self.store.lock(f"output-{key[:32]}")

    def find(self, key: str) -> FinishedOutput | None:
        """What is known of a finished output, or None; it stays while this build runs."""
        self.store.pin(f"outputs/{key}")
        return read_done(self.folder(key))

    def let_go_of_damaged(self, key: str) -> str:
        """Remove an output that is not what was written; what is wrong with it, "" where nothing is.

        What this build has compared or put here is not compared again. The caller holds the lock.
        """
        finished = None if key in self._sound else self.find(key)
        wrong = damaged(self.folder(key), finished) if finished else []
        if wrong:
            self.clear(key)
        self._sound.add(key)
        return damage(wrong) if wrong else ""

    def clear(self, key: str) -> None:
        """Remove what lies in the place of an output. The caller holds the lock."""
        if self.folder(key).exists():
            remove_tree(self.folder(key))

    def put(self, key: str, folder: Path) -> None:
        """Move a whole output here, in place of what lies there. The caller holds the lock."""
        self.clear(key)
        folder.rename(self.folder(key))
        self._sound.add(key)
