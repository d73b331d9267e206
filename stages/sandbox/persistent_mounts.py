"""Mounts that a script leaves for later ones: folders of the scripts' own cache, bound over a place in the tree.

In diskimage-builder a bind mount that a script of ``root.d`` or ``extra-data.d`` makes lasts until ``post-root.d`` is
over (that is how its elements share package caches). Here every stage has mounts of its own, so these are written down
with the layer and made again for each later stage.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from stages.sandbox.paths import IMAGE_CACHE, TARGET_ROOT

FOLDER = "mounts.d"  # in a layer: a file for each, named after the place, with the folder of the cache as content


@dataclass(frozen=True)
class KeptMount:
    """The folder ``source`` of the cache lies over ``place`` in the tree; both relative, without a leading slash."""

    place: str
    source: str


def _unescaped(field: bytes) -> str:
    for code, character in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        field = field.replace(code, character)
    return os.fsdecode(field)


def kept_mounts(mountinfo: bytes) -> list[KeptMount]:
    """Which mounts of a stage (the text of its ``/proc/self/mountinfo``) show a folder of the cache in its tree."""
    mounts = []
    for line in mountinfo.splitlines():
        fields = line.split(b" ")
        if len(fields) > 4:
            mounts.append((fields[2], _unescaped(fields[3]), _unescaped(fields[4])))
    caches = [(device, root.rstrip("/")) for device, root, point in mounts if point == IMAGE_CACHE]
    found = {}
    for device, root, point in mounts:
        for cache, top in caches:
            if device == cache and point.startswith(f"{TARGET_ROOT}/") and root.startswith(f"{top}/"):
                found[point.removeprefix(f"{TARGET_ROOT}/")] = root.removeprefix(f"{top}/")
    return [KeptMount(place, found[place]) for place in sorted(found)]


def write(mounts: Iterable[KeptMount], layer: Path) -> None:
    """Write mounts down in a layer's folder."""
    for mount in mounts:
        (layer / FOLDER).mkdir(exist_ok=True)
        (layer / FOLDER / quote(mount.place, safe="")).write_text(mount.source, encoding="utf-8")


def read(merged: Path) -> list[KeptMount]:
    """The mounts that the merged layers have."""
    if not (merged / FOLDER).is_dir():
        return []
    files = sorted((merged / FOLDER).iterdir())
    return [KeptMount(unquote(file.name), file.read_text(encoding="utf-8")) for file in files]
