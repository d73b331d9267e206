"""What outside scripts wrote into the caller's folder, as one more output of a build (``type`` "files")."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from blockdev.core.atomic_file import remove_tree
from stages.layers.finished_output import damage, damaged, read_done, write_done
from stages.layers.overlay import copy_tree, mounted
from stages.layers.store import Store
from stages.protocol import events
from stages.protocol.emit import emit


def side_files(store: Store, scratch: Path, chain: Sequence[str], tree_key: str) -> None:
    """Copy them out of the tree, unless the store has them, and report them. Raises what the layers' digests do."""
    if not any((store.root / "layers" / layer / "cwd").is_dir() for layer in chain):
        return
    folder = store.root / "outputs" / f"files-{tree_key[:32]}"
    store.lend(f"outputs/{folder.name}")
    with store.lock(f"output-{folder.name}"):
        done = read_done(folder)
        wrong = damaged(folder, done) if done else []
        if wrong:
            emit(events.Note(text=f"the files beside the image: {damage(wrong)}; they are copied again"))
        if done is None or wrong:
            _write(store, scratch, chain, folder)
    emit(events.Output(output="files", key=tree_key, path=str(folder), changed=True, digest="", bytes=0))


def _write(store: Store, scratch: Path, chain: Sequence[str], folder: Path) -> None:
    store.digests.check(chain)
    if folder.exists():
        remove_tree(folder)
    with store.workplace() as place:
        files = place.path / "files"
        (files / "artifact").mkdir(parents=True)
        with mounted(store, chain, scratch / "files") as merged:
            copy_tree(merged / "cwd", files / "artifact")
        write_done(files, {}, {})
        store.digests.require(chain)
        files.rename(folder)
