"""Layers mounted as one tree: an overlay over a chain of layers, read-only or with a fresh upper folder."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from blockdev.core import syscalls
from blockdev.core.boot_id import boot_id
from blockdev.core.digest import digest
from stages.layers.copy_files import copy_files
from stages.layers.digest_list import list_folder
from stages.layers.layer_digests import FOLDED
from stages.layers.store import BASE, Store

# Mount options must fit in a page (4096 bytes) and an overlay in 500 layers; ids of ten digits leave room for these.
LONGEST_CHAIN = 300
_changing_directory = threading.Lock()  # outputs are written by several threads, which share one current folder


def _overlay(store: Store, lower: Sequence[str], at: Path, options: str) -> None:
    """Mount layers, given lowest first, at a folder; short names relative to ``layers/`` keep the options small."""
    names = ":".join(reversed((BASE, *lower)))
    with _changing_directory:
        previous = Path.cwd()
        os.chdir(store.root / "layers")
        try:
            syscalls.mount("overlay", at, "overlay", 0, f"lowerdir={names},userxattr{options}")
        finally:
            os.chdir(previous)


def fold(store: Store, chain: Sequence[str]) -> tuple[str, ...]:
    """A chain short enough to mount that shows the same tree: where needed, the lowest layers are copied into one.

    The folded layer is kept in the store under a name made from the layers it stands for.
    """
    if len(chain) <= LONGEST_CHAIN:
        return tuple(chain)
    keep = LONGEST_CHAIN // 2
    lowest = fold(store, chain[:LONGEST_CHAIN]) if len(chain) - keep > LONGEST_CHAIN else tuple(chain[:-keep])
    rest = tuple(chain[len(lowest) :])
    # With the boot in its name: nobody notes whether it reached the disk, so after a power loss it is made again.
    name = FOLDED + digest(" ".join((boot_id(), *lowest)))[:10]
    with store.lock(f"fold-{name}"):
        folder = store.root / "layers" / name
        store.pin(f"layers/{name}")
        if not folder.is_dir():
            with store.workplace() as workplace:
                merged = workplace.path / "merged"
                merged.mkdir()
                _overlay(store, lowest, merged, "")
                try:
                    copy_tree(merged, workplace.upper)
                finally:
                    syscalls.unmount(merged)
                store.digests.write(name, list_folder(str(workplace.upper)), workplace.path)
                workplace.upper.rename(folder)
        store.digests.check([name])
    return fold(store, (name, *rest))


def copy_tree(source: Path, target: Path) -> None:
    """Copy a tree with owners, modes, times, links and extended attributes, in ``cp``'s own way. Raises BuildError."""
    copy_files(f"{source}/.", f"{target}/")


@contextlib.contextmanager
def mounted(
    store: Store, chain: Sequence[str], at: Path, upper: Path | None = None, work: Path | None = None
) -> Iterator[Path]:
    """The tree of a chain of layers at the folder ``at`` while the context lasts.

    With ``upper`` and ``work`` (two folders of the store's file system) it can be written to, without any fsync.
    """
    at.mkdir(parents=True, exist_ok=True)
    options = ""
    if upper and work:
        # Relative, as the layers are: a store's own path may hold what mount options cannot.
        layers = store.root / "layers"
        options = f",upperdir={os.path.relpath(upper, layers)},workdir={os.path.relpath(work, layers)},volatile"
    _overlay(store, fold(store, chain), at, options)
    try:
        yield at
    finally:
        syscalls.unmount(at)
        at.rmdir()


@contextlib.contextmanager
def overlaid(folder: Path, at: Path) -> Iterator[Path]:
    """The folder's ``lower``, seen at ``at`` while the context lasts; what is written goes to its ``upper``.

    ``work``, empty, is there beside them.
    """
    at.mkdir(parents=True, exist_ok=True)
    with _changing_directory:
        previous = Path.cwd()
        os.chdir(folder)
        try:
            syscalls.mount("overlay", at, "overlay", 0, "lowerdir=lower,upperdir=upper,workdir=work,userxattr,volatile")
        finally:
            os.chdir(previous)
    try:
        yield at
    finally:
        syscalls.unmount(at)
        at.rmdir()
