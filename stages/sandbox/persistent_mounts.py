"""Mounts that a script outside leaves for later ones: folders bound over places in the tree.

In diskimage-builder a bind mount that a script of ``root.d`` or ``extra-data.d`` makes lasts until ``post-root.d`` is
over (that is how its elements share package caches), one of ``pre-finalise.d`` until ``cleanup.d`` is. Here every stage
has mounts of its own, so these are written down with the layer and made again for each later stage, until a script
outside takes one away. What is bound lies in the scripts' own cache or in the layers; others end with their stage.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from blockdev.core import rooted_path
from stages.sandbox.paths import IMAGE_CACHE, TARGET_ROOT

# In a layer: a file for each, named after the place, with what is bound there as content (empty: it was taken away).
EARLY, LATE = "mounts.d", "late-mounts.d"
OF_LAYER = "layer:"  # before what is bound: it lies in the layers
_LONGEST = 255  # bytes of a file's name
_KERNEL = ("proc", "sys", "dev")  # places of each stage's own mounts


@dataclass(frozen=True)
class KeptMount:
    """The folder ``source`` of the cache lies over ``place`` in the tree; both relative, without a leading slash.

    With OF_LAYER before it, ``source`` is a path in the layers.
    """

    place: str
    source: str


@dataclass
class Left:
    """What of a stage's mounts in its tree is left at its end.

    ``kept`` are those that later stages see; ``other`` are the rest, places with the file system's name; ``places``
    are all.
    """

    kept: list[KeptMount] = field(default_factory=list)
    other: dict[str, str] = field(default_factory=dict)
    places: set[str] = field(default_factory=set)


def _unescaped(field: bytes) -> str:
    for code, character in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        field = field.replace(code, character)
    return os.fsdecode(field)


def _file_name(mount_point: str) -> str:
    return quote(os.fsencode(mount_point), safe="")


def left_mounts(mountinfo: bytes, shown: Collection[str] = ()) -> Left:
    """What a stage's mounts (the text of its ``/proc/self/mountinfo``) are; ``shown`` are places that it found so."""
    mounts = []
    for line in mountinfo.splitlines():
        fields = line.split(b" ")
        if len(fields) > 4:
            kind = line.partition(b" - ")[2].partition(b" ")[0].decode("ascii", "replace")
            mounts.append((fields[2], _unescaped(fields[3]), _unescaped(fields[4]), kind))
    caches = [(device, root.rstrip("/")) for device, root, point, _ in mounts if point == IMAGE_CACHE]
    layers = {device for device, root, point, _ in mounts if point == TARGET_ROOT and root == "/tree"}
    left = Left()
    sources: dict[str, str] = {}
    for device, root, point, kind in mounts:
        mount_point = point.removeprefix(f"{TARGET_ROOT}/")
        if mount_point == point or mount_point.partition("/")[0] in _KERNEL:
            continue
        left.places.add(mount_point)
        of_cache = next((top for cache, top in caches if device == cache and root.startswith(f"{top}/")), None)
        sources.pop(mount_point, None)
        left.other.pop(mount_point, None)
        if len(_file_name(mount_point)) > _LONGEST:
            left.other[mount_point] = kind
        elif of_cache is not None:
            sources[mount_point] = root.removeprefix(f"{of_cache}/")
        elif device in layers and root.startswith(("/tree/", "/outside/")):
            sources[mount_point] = f"{OF_LAYER}{root[1:]}"
        elif mount_point not in shown:
            left.other[mount_point] = kind
    left.kept = [KeptMount(mount_point, sources[mount_point]) for mount_point in sorted(sources)]
    return left


def write(left: Left, shown: Iterable[KeptMount], layer: Path, folder: str) -> None:
    """Write down in a layer what a stage has changed of the mounts that it was shown."""
    shown = set(shown)
    gone = [KeptMount(mount.place, "") for mount in shown if mount.place not in left.places]
    places = {mount.place: mount.source for mount in shown}
    # A folder of the cache shows from another place to later stages: what is at its place still is the same.
    new = [mount for mount in left.kept if mount.place not in places or places[mount.place] != mount.source]
    for mount in (*new, *gone):
        (layer / folder).mkdir(exist_ok=True)
        (layer / folder / _file_name(mount.place)).write_bytes(os.fsencode(mount.source))


def read(merged: Path, folder: str = EARLY) -> list[KeptMount]:
    """The mounts that the merged layers have."""
    if not (merged / folder).is_dir():
        return []
    files = sorted((merged / folder).iterdir())
    mounts = [KeptMount(os.fsdecode(unquote_to_bytes(file.name)), os.fsdecode(file.read_bytes())) for file in files]
    return [mount for mount in mounts if mount.source]


def in_layers(merged: Path, source: str) -> Path | None:
    """The folder or file that a mount of OF_LAYER binds; scripts may have made links on the way, which lead nowhere."""
    top, _, rest = source.removeprefix(OF_LAYER).partition("/")
    if top not in ("tree", "outside"):
        return None
    path = rooted_path.inside(merged / top, rest)
    return path if path is not None and path.exists() and not path.is_symlink() else None
