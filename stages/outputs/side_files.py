"""What outside scripts wrote into the caller's folder, as one more output of a build (``type`` "files")."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stages.layers.finished_output import write_done
from stages.layers.overlay import copy_tree, mounted
from stages.layers.store import Store
from stages.outputs.store import OutputStore
from stages.protocol import events
from stages.protocol.emit import emit


def side_files(store: Store, scratch: Path, chain: Sequence[str], tree_key: str) -> None:
    """Copy them out of the tree, unless the store has them, and report them. Raises what the layers' digests do."""
    if not any((store.root / "layers" / layer / "cwd").is_dir() for layer in chain):
        return
    outputs, key = OutputStore(store), f"files-{tree_key[:32]}"
    store.lend(f"outputs/{key}")
    with outputs.lock(key):
        wrong = outputs.let_go_of_damaged(key)
        if wrong:
            emit(events.Note(text=f"the files beside the image: {wrong}; they are copied again"))
        if outputs.find(key) is None:
            _write(outputs, key, scratch, chain)
    path = str(outputs.folder(key))
    emit(events.Output(output="files", key=tree_key, path=path, changed=True, digest="", bytes=0))


def _write(outputs: OutputStore, key: str, scratch: Path, chain: Sequence[str]) -> None:
    store = outputs.store
    store.digests.check(chain)
    with store.workplace() as workplace:
        files = workplace.path / "files"
        (files / "artifact").mkdir(parents=True)
        with mounted(store, chain, scratch / "files") as merged:
            copy_tree(merged / "cwd", files / "artifact")
        write_done(files, {})
        store.digests.require(chain)
        outputs.put(key, files)
