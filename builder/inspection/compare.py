"""Where two images differ: their configurations, their trees entry by entry, and last how their layers are written."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from builder.inspection.file_diff import SHOWN, first_spot
from builder.inspection.image import ImageFile, open_image
from builder.inspection.layer_diff import first_in_layer
from builder.inspection.layers import SECOND
from builder.inspection.printable import printable
from builder.inspection.tree import FILE, FOLDER, LINK, Tree, TreeEntry

LIMIT = 100
LARGEST = 256 << 20  # bytes of a file that are looked at for the place where it differs
CONFIGURATION = "the image's configuration"
NOTHING = "nothing"


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same in two images.

    ``path`` is a path in their trees or names a document or a layer, ``what`` says what of it, ``ours`` and ``theirs``
    are the values in words; ``details`` (lines of text) may tell more.
    """

    path: str
    what: str
    ours: str
    theirs: str
    details: str = ""

    def __str__(self) -> str:
        sentence = f"{self.path}: {self.what}: {self.ours} in the first, {self.theirs} in the second"
        return "\n    ".join(printable(line) for line in [sentence, *self.details.split("\n")] if line)


def first_difference(ours: Path, theirs: Path, platform: str = "") -> Difference | None:
    """The first difference of two images, as :func:`differences` has them; None where there is none."""
    first = differences(ours, theirs, platform, limit=1)
    return first[0] if first else None


def differences(ours: Path, theirs: Path, platform: str = "", *, limit: int = LIMIT) -> list[Difference]:
    """The first ``limit`` differences: of the configurations, of the number of layers, of the trees by path.

    Where the trees are the same, also how the layers' archives differ, or their compression, or the manifests.
    ``platform`` and the errors are as of :func:`open_image`.
    """
    image, other = open_image(ours, platform), open_image(theirs, platform)
    return list(itertools.islice(_differences(image, other), limit))


def _differences(image: ImageFile, other: ImageFile) -> Iterator[Difference]:
    yield from _values(CONFIGURATION, "", _settings(image), _settings(other))
    if len(image.layers) != len(other.layers):
        yield Difference("the image", "number of layers", str(len(image.layers)), str(len(other.layers)))
    differ = False
    if [layer.diff_id for layer in image.layers] != [layer.diff_id for layer in other.layers]:
        for difference in _trees(image, other):
            differ = True
            yield difference
    if not differ:
        yield from _layers(image, other)
        yield from _values("the image's manifest", "", _rest(image.manifest, other), _rest(other.manifest, image))


# -- documents ---------------------------------------------------------------------------------------


def _settings(image: ImageFile) -> dict[str, Any]:
    """The configuration without the digests of the layers: the trees tell more about those."""
    history = image.config.get("history") or []
    return {
        **{name: value for name, value in image.config.items() if name not in ("rootfs", "history")},
        **{f"history[{number}]": step for number, step in enumerate(history)},
    }


def _rest(manifest: Mapping[str, Any], other: ImageFile) -> dict[str, Any]:
    """What a manifest says beside its blobs; nothing where the other image has no manifest."""
    return {name: value for name, value in manifest.items() if other.manifest and name not in ("config", "layers")}


def _values(path: str, name: str, ours: Any, theirs: Any) -> Iterator[Difference]:
    """Where two JSON values differ, by the names on the way: ``config.Env``."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted(ours.keys() | theirs.keys()):
            yield from _values(path, f"{name}.{key}" if name else str(key), ours.get(key), theirs.get(key))
    elif ours != theirs:
        yield Difference(path, name, _json(ours), _json(theirs))


def _json(value: Any) -> str:
    text = NOTHING if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 2 * SHOWN else text[: 2 * SHOWN] + "..."


# -- trees -------------------------------------------------------------------------------------------


def _trees(image: ImageFile, other: ImageFile) -> Iterator[Difference]:
    ours, theirs = image.contents(hashes=True).tree, other.contents(hashes=True).tree
    names, other_names = _shared(ours), _shared(theirs)
    gone = "/"  # the last folder that one tree has alone; what is in it needs no line of its own
    for path in sorted(ours.entries.keys() | theirs.entries.keys(), key=lambda path: path.split("/")):
        if gone != "/" and path.startswith(gone + "/"):
            continue
        mine, its = ours.entries.get(path), theirs.entries.get(path)
        if mine is None or its is None or mine.kind != its.kind:
            gone = path
            yield Difference(path, "what is there", _described(ours, path), _described(theirs, path))
            continue
        if mine.sha256 != its.sha256:
            yield _content(path, (image, mine), (other, its))
        for what, value, its_value in zip(ENTRY_PARTS, _parts(mine), _parts(its), strict=True):
            if value != its_value:
                yield Difference(path, what, value, its_value)
        if names.get(path) != other_names.get(path):
            yield Difference(path, "hard links", _links(names, path), _links(other_names, path))


ENTRY_PARTS = ("where it leads", "mode", "owner", "time of change", "extended attributes")


def _parts(entry: TreeEntry) -> tuple[str, ...]:
    xattrs = ", ".join(f"{name}={value!r}" for name, value in entry.xattrs.items())
    return (
        entry.target or NOTHING,
        f"{entry.mode:04o}",
        f"{entry.uid}:{entry.gid}",
        _time(entry.mtime),
        xattrs or NOTHING,
    )


def _time(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, SECOND)
    try:
        text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):  # out of the calendar
        text = f"{seconds} s"
    return f"{text}.{rest:09d}" if rest else text


def _described(tree: Tree, path: str) -> str:
    entry = tree.entries.get(path)
    if entry is None:
        return NOTHING
    if entry.kind == FOLDER:
        inside = sum(1 for each in tree.entries if each.startswith(path + "/"))
        return f"a folder with {inside} {'entry' if inside == 1 else 'entries'} in it"
    if entry.kind == LINK:
        return f"a link to {entry.target}"
    return f"a file of {entry.length} bytes" if entry.kind == FILE else f"a {entry.kind}"


def _shared(tree: Tree) -> dict[str, tuple[str, ...]]:
    """For each file that has several names: all of them."""
    groups: dict[tuple[int, int], list[str]] = {}
    for path, entry in tree.entries.items():
        if entry.kind != FOLDER:
            groups.setdefault(entry.source, []).append(path)
    return {path: tuple(paths) for paths in groups.values() if len(paths) > 1 for path in paths}


def _links(names: Mapping[str, tuple[str, ...]], path: str) -> str:
    return ", ".join(name for name in names.get(path, ()) if name != path) or NOTHING


def _content(path: str, ours: tuple[ImageFile, TreeEntry], theirs: tuple[ImageFile, TreeEntry]) -> Difference:
    """Look for the place where two files differ, in copies of them in a temporary folder."""
    name = path.rpartition("/")[2]  # diffoscope goes by it
    with tempfile.TemporaryDirectory(prefix="dib-ctr-compare-") as folder:
        copies = []
        for side, (image, entry) in (("first", ours), ("second", theirs)):
            copy = Path(folder, side, name)
            copy.parent.mkdir()
            image.extract({entry.source: copy}, LARGEST)
            copies.append(copy)
        spot = first_spot(*copies)
    if spot is None:
        lengths = [f"{entry.length} bytes, sha256 {entry.sha256}" for _, entry in (ours, theirs)]
        return Difference(path, f"content, after the first {LARGEST >> 20} MB", *lengths)
    return Difference(path, spot.what, spot.ours, spot.theirs, spot.details)


# -- layers of the same tree ---------------------------------------------------------------------------


def _layers(image: ImageFile, other: ImageFile) -> Iterator[Difference]:
    if len(image.layers) != len(other.layers):
        return
    for ours, theirs in zip(image.layers, other.layers, strict=True):
        name = f"layer {ours.number + 1}"
        if ours.diff_id != theirs.diff_id:
            what, mine, its = first_in_layer((image.place, ours), (other.place, theirs))
            yield Difference(name, f"the tree is the same, its tar archive is not: {what}", mine, its)
        elif ours.blob.digest and theirs.blob.digest and ours.blob.digest != theirs.blob.digest:
            values = [f"{layer.bytes} bytes, {layer.media_type}" for layer in (ours, theirs)]
            yield Difference(name, "the tar archive is the same, its compression is not", *values)
