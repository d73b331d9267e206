"""The block-device stage with the host's root: a tree handed over as a tar, and the last phases run on the disk itself.

The container that makes the disk is in no user namespace: a build's own ids are others there. So it is given the tree
as a tar with the owners that the image is to have, and gives what it leaves in the store to the store's owner.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blockdev.core.atomic_file import remove_tree
from stages.element import dib_runtime
from stages.element.environment import as_functions
from stages.element.hooks import HookFile, merge
from stages.layers.hooks_folder import write_hooks
from stages.layers.met_repositories import metalinks
from stages.layers.store import Store
from stages.outputs.finished_tree import FinishedTree
from stages.outputs.formats.archives import write_tar
from stages.outputs.slim.changes import Finish
from stages.plan.plan import generated, own_scripts
from stages.protocol import events
from stages.protocol.emit import emit
from stages.protocol.events import DiskJob
from stages.protocol.request import Request
from stages.repositories.download import Patience

if TYPE_CHECKING:
    from blockdev.layout.model import Layout
    from blockdev.privileged.run import Assembled

LEDGERS = "ledgers"  # in the store: which loop devices and mounts a run holds
_TREE = "tree.tar"
_LAST = "cleanup.d/99999-seal-tree"  # after all of cleanup.d


def export_tree(request: Request, store: Store, tree: FinishedTree, source: Path, changed: Finish) -> dict[str, Any]:
    """Write the mounted tree ``source`` as a tar into the store; returns what goes into the job."""
    folder = store.root / "outputs" / f"tree-{tree.plan.tree_key[:32]}"
    store.pin(f"outputs/{folder.name}")
    if folder.exists():
        remove_tree(folder)
    folder.mkdir()
    write_tar(source, folder / _TREE, epoch=tree.epoch, compress="none", finish=changed)
    environment = tree.plan.environment
    texts = metalinks(tree.plan.repositories, Patience.of(environment), request.offline)
    return {
        "tree": str(folder / _TREE),
        "environment": {**environment, **as_functions(tree.plan.functions)},
        "repositories": texts,
    }


def hooks_of(
    request: Request, elements: Sequence[tuple[str, Path]], environment: Mapping[str, str]
) -> dict[str, HookFile]:
    """The merged hooks with what a plan adds to them, and the build's own last script among those of cleanup."""
    merged = merge(elements)
    tree = {**merged, **generated(elements, merged, environment, request.packages, request.builtin)}
    tree[_LAST] = dataclasses.replace(own_scripts()["seal-tree"], path=_LAST)
    return tree


def _lists(elements: Sequence[tuple[str, Path]], hooks: str) -> dict[str, str]:
    """What lists the elements to scripts that see the hooks tree at ``hooks``, and the functions of all."""
    functions = dib_runtime.functions(elements, hooks)
    exported = as_functions(functions)
    return {**dib_runtime.variables(elements, hooks), **exported}


def assemble(
    request: Request,
    store: Store,
    elements: Sequence[tuple[str, Path]],
    disk_job: DiskJob,
    layout: Layout,
    folder: Path,
    passphrases: Mapping[str, bytes],
) -> Assembled:
    """Make the raw images of a job below ``folder``; raises what ``blockdev.privileged.run.assemble`` does."""
    from blockdev.privileged.release import release_left_over
    from blockdev.privileged.run import Job
    from blockdev.privileged.run import assemble as run
    from stages.outputs.disk.scripts import run_on_disk

    ledgers = store.root / LEDGERS
    ledgers.mkdir(exist_ok=True)
    left_over = release_left_over(ledgers)
    for text in (*left_over.released, *left_over.problems):
        emit(events.Note(text=f"an earlier run left: {text}"))
    environment = disk_job.environment or {}
    hooks = hooks_of(request, elements, environment)
    job = Job(
        layout=layout,
        tree=Path(disk_job.tree),
        hooks=write_hooks(hooks, folder / "hooks"),
        environment={**environment, **_lists(elements, str(folder / "hooks"))},
        images=folder / "images",
        beside=folder / "beside",
        work=folder / "mounts",
        ledgers=ledgers,
        epoch=disk_job.epoch,
        element_of={path: hook.element for path, hook in hooks.items()},
        passphrases=passphrases,
        seed=request.disk["options"]["seed"],
        hidden=store.root,
        own=folder,
        scripts=partial(run_on_disk, repositories=disk_job.repositories),
    )
    return run(job, lambda text: emit(events.Note(text=text)))


@contextlib.contextmanager
def restore_owner(store: Store, tree: Path) -> Iterator[None]:
    """In the end the tar is gone, and what root has left in the store belongs to the store's owner."""
    try:
        yield
    finally:
        remove_tree(tree.parent)
        owner = store.root.stat()
        if owner.st_uid:
            for directory, _, names in os.walk(store.root):
                if os.path.relpath(directory, store.root).partition("/")[0] in {"layers", "cache", "blocks"}:
                    continue
                for name in (".", *names):
                    path = Path(directory, name)
                    with contextlib.suppress(FileNotFoundError):
                        if path.lstat().st_uid == 0:
                            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
