"""How large an image is, by package, by directory and by layer; and how two images differ in it."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.inspection.image import ImageFile
from builder.inspection.packages import Ownership, is_database, ownership
from builder.inspection.tree import Tree

NO_PACKAGE = "(no package)"
DEPTH = 2


@dataclass(frozen=True)
class Share:
    """A part of an image: a package (with its version) or a directory, the bytes of its files, how many they are."""

    name: str
    bytes: int
    files: int
    version: str = ""


@dataclass(frozen=True)
class LayerShare:
    """A layer: the bytes of its blob and of its tar archive, and what made it."""

    number: int
    compressed: int
    uncompressed: int
    created_by: str


@dataclass(frozen=True)
class Size:
    """The size of an image: ``compressed`` is the layers' blobs, ``uncompressed`` the files (hard links count once).

    ``packages`` and ``directories`` are the largest first, and each sums up to ``uncompressed``. ``notes`` are
    sentences about what could not be read.
    """

    path: Path
    digest: str
    platform: str
    compressed: int
    uncompressed: int
    files: int
    packages: tuple[Share, ...]
    directories: tuple[Share, ...]
    layers: tuple[LayerShare, ...]
    notes: tuple[str, ...] = ()


def measure(image: ImageFile, depth: int = DEPTH) -> Size:
    """Read the image and sum it up, directories ``depth`` levels deep (0: the root alone).

    Raises what :meth:`ImageFile.contents` raises.
    """
    contents = image.contents(keep=is_database)
    owned = ownership(contents.tree)
    directories = by_directory(contents.tree, depth)
    layers = tuple(
        LayerShare(layer.number + 1, layer.bytes, length, layer.created_by)
        for layer, length in zip(image.layers, contents.layer_bytes, strict=True)
    )
    return Size(
        path=image.path,
        digest=image.digest,
        platform=image.platform,
        compressed=sum(layer.compressed for layer in layers),
        uncompressed=sum(share.bytes for share in directories),
        files=sum(share.files for share in directories),
        packages=by_package(contents.tree, owned),
        directories=directories,
        layers=layers,
        notes=tuple(f"the package database in {path} cannot be read: see directories" for path in owned.unread),
    )


def by_package(tree: Tree, owned: Ownership) -> tuple[Share, ...]:
    """What each installed package has in the tree, and what belongs to none."""
    versions = {package.name: package.version for package in owned.packages}
    totals = {name: [0, 0] for name in versions}
    for path, entry in tree.files():
        total = totals.setdefault(owned.owners.get(path, NO_PACKAGE), [0, 0])
        total[0] += entry.length
        total[1] += 1
    return _sorted(Share(name, total, files, versions.get(name, "")) for name, (total, files) in totals.items())


def by_directory(tree: Tree, depth: int = DEPTH) -> tuple[Share, ...]:
    """What lies in each directory of ``depth`` levels, or directly in one above."""
    totals: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for path, entry in tree.files():
        parts = posixpath.dirname(path).strip("/").split("/")[:depth]
        total = totals["/" + "/".join(parts)]
        total[0] += entry.length
        total[1] += 1
    return _sorted(Share(name, total, files) for name, (total, files) in totals.items())


def _sorted(shares: Iterable[Share]) -> tuple[Share, ...]:
    return tuple(sorted(shares, key=lambda share: (-share.bytes, share.name)))


def largest(shares: Sequence[Share], count: int) -> tuple[Share, ...]:
    """The first ones, and one more that sums up the rest (0: all of them)."""
    rest = shares[count:] if count else ()
    if len(rest) < 2:  # the sum would take as many lines
        return tuple(shares)
    summed = Share(f"({len(rest)} more)", sum(share.bytes for share in rest), sum(share.files for share in rest))
    return (*shares[:count], summed)


# -- two images ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """A package or directory in two images; the share is None where one has none."""

    name: str
    before: Share | None
    after: Share | None

    @property
    def bytes(self) -> int:
        """By how many bytes it grew."""
        return (self.after.bytes if self.after else 0) - (self.before.bytes if self.before else 0)

    @property
    def kind(self) -> str:
        """``added``, ``removed``, ``grown``, ``shrunk``, ``changed`` (as large, another version) or ``same``."""
        if self.before is None or self.after is None:
            return "added" if self.before is None else "removed"
        if self.bytes:
            return "grown" if self.bytes > 0 else "shrunk"
        return "same" if self.before == self.after else "changed"


@dataclass(frozen=True)
class Comparison:
    """Two images side by side; packages and directories that are the same are left out, the largest change is first."""

    before: Size
    after: Size
    packages: tuple[Change, ...]
    directories: tuple[Change, ...]


def compare(before: Size, after: Size) -> Comparison:
    """How the second image differs from the first in size."""
    packages = _changes(before.packages, after.packages)
    return Comparison(before, after, packages, _changes(before.directories, after.directories))


def _changes(before: Sequence[Share], after: Sequence[Share]) -> tuple[Change, ...]:
    old: Mapping[str, Share] = {share.name: share for share in before}
    new: Mapping[str, Share] = {share.name: share for share in after}
    changes = [Change(name, old.get(name), new.get(name)) for name in old.keys() | new.keys()]
    different = [change for change in changes if change.kind != "same"]
    return tuple(sorted(different, key=lambda change: (-abs(change.bytes), change.name)))
