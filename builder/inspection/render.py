"""Sizes of images as tables for a terminal, and as documents for JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from builder.inspection.printable import printable
from builder.inspection.size import NO_PACKAGE, Change, Comparison, Share, Size, compare, largest
from builder.progress.report import size, table

VIEWS = ("package", "directory", "layer")
TOP = 20
DEFAULT = ("package", "directory")
WIDEST = 72  # letters of what made a layer


def answer(sizes: Sequence[Size], by: Sequence[str], top: int = TOP, *, as_json: bool = False) -> str:
    """The text about one image, or about two side by side; ``by`` are views or ``all``, by default :data:`DEFAULT`."""
    views = VIEWS if "all" in by else tuple(view for view in VIEWS if view in (by or DEFAULT))
    if len(sizes) == 1:
        return json.dumps(document(sizes[0]), indent=1) if as_json else report(sizes[0], views, top)
    both = compare(*sizes)
    return json.dumps(comparison_document(both), indent=1) if as_json else comparison(both, views, top)


def _columns(rows: Sequence[Sequence[str]], right: frozenset[int]) -> str:
    """A table whose columns ``right`` are numbers."""
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = {column: max(len(row[column]) for row in shown) for column in right}
    return table([[cell.rjust(widths.get(index, 0)) for index, cell in enumerate(row)] for row in shown])


def _signed(count: int) -> str:
    return f"{'-' if count < 0 else '+'}{size(abs(count))}" if count else "0 B"


def _ratio(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else ""


def report(image_size: Size, views: Sequence[str], top: int = TOP) -> str:
    """The size of one image: the totals, and a table for each of ``views``, ``top`` lines long (0: all)."""
    layers = "1 layer" if len(image_size.layers) == 1 else f"{len(image_size.layers)} layers"
    totals = [
        ["image", str(image_size.path)],
        ["digest", image_size.digest],
        ["platform", image_size.platform or "not told"],
        ["compressed", f"{size(image_size.compressed)} in {layers}"],
        ["uncompressed", f"{size(image_size.uncompressed)} in {image_size.files} files"],
    ]
    parts = [table(totals)]
    if "package" in views and _tells_packages(image_size):
        parts.append(_shares("package", largest(image_size.packages, top), image_size.uncompressed))
    if "directory" in views:
        parts.append(_shares("directory", largest(image_size.directories, top), image_size.uncompressed))
    if "layer" in views:
        parts.append(_layers(image_size))
    return "\n\n".join([*parts, *image_size.notes])


def _tells_packages(image_size: Size) -> bool:
    """Is there more to say than that no package is known, which comes from a database that is not read."""
    return not image_size.notes or any(share.name != NO_PACKAGE for share in image_size.packages)


def _shares(head: str, shares: Sequence[Share], whole: int) -> str:
    versions = any(share.version for share in shares)
    rows = [[head, *(["version"] if versions else []), "size", "", "files"]]
    for share in shares:
        version = [share.version] if versions else []
        rows.append([share.name, *version, size(share.bytes), _ratio(share.bytes, whole), str(share.files)])
    return _columns(rows, frozenset({len(rows[0]) - 3, len(rows[0]) - 2, len(rows[0]) - 1}))


def _layers(image_size: Size) -> str:
    rows = [["layer", "compressed", "uncompressed", "made by"]]
    for layer in image_size.layers:
        maker = " ".join(layer.created_by.split())
        maker = maker if len(maker) <= WIDEST else maker[: WIDEST - 3] + "..."
        rows.append([str(layer.number), size(layer.compressed), size(layer.uncompressed), maker])
    return _columns(rows, frozenset({0, 1, 2}))


def comparison(sizes: Comparison, views: Sequence[str], top: int = TOP) -> str:
    """Two images side by side: the totals, and the changes of each of ``views``, ``top`` lines of each (0: all)."""
    before, after = sizes.before, sizes.after
    totals = [["", str(before.path), str(after.path), "difference"]]
    for name, old, new in (
        ("compressed", before.compressed, after.compressed),
        ("uncompressed", before.uncompressed, after.uncompressed),
    ):
        totals.append([name, size(old), size(new), _signed(new - old)])
    for name, old, new in (
        ("files", before.files, after.files),
        ("layers", len(before.layers), len(after.layers)),
    ):
        totals.append([name, str(old), str(new), f"{new - old:+d}" if new != old else "0"])
    parts = [_columns(totals, frozenset({1, 2, 3}))]
    if "package" in views and (_tells_packages(before) or _tells_packages(after)):
        parts.append(_changes("package", sizes.packages, top))
    if "directory" in views:
        parts.append(_changes("directory", sizes.directories, top))
    if "layer" in views:
        parts += [f"{each.path}\n{_layers(each)}" for each in (before, after)]
    return "\n\n".join([*parts, *dict.fromkeys((*before.notes, *after.notes))])


def _changes(head: str, changes: Sequence[Change], top: int) -> str:
    if not changes:
        return f"every {head} is as large as before"
    shown = changes[:top] if top and len(changes) > top + 1 else changes
    versions = any(share and share.version for change in changes for share in (change.before, change.after))
    rows = [[head, "", "before", "after", "difference", "version"]]
    for change in shown:
        sizes = [size(share.bytes) if share else "" for share in (change.before, change.after)]
        rows.append([change.name, change.kind, *sizes, _signed(change.bytes), _versions(change)])
    rest = changes[len(shown) :]
    if rest:
        rows.append([f"({len(rest)} more)", "", "", "", _signed(sum(change.bytes for change in rest)), ""])
    return _columns([row if versions else row[:-1] for row in rows], frozenset({2, 3, 4}))


def _versions(change: Change) -> str:
    old, new = (share.version if share else "" for share in (change.before, change.after))
    return f"{old} -> {new}" if old and new and old != new else new or old


# -- documents -------------------------------------------------------------------------------------------


def document(image_size: Size) -> dict[str, Any]:
    """The whole of a size as a JSON document; nothing is left out or summed up in it."""
    return {**asdict(image_size), "path": str(image_size.path)}


def comparison_document(sizes: Comparison) -> dict[str, Any]:
    """The whole of a comparison as a JSON document."""
    return {
        "before": document(sizes.before),
        "after": document(sizes.after),
        "packages": [_change(change) for change in sizes.packages],
        "directories": [_change(change) for change in sizes.directories],
    }


def _change(change: Change) -> dict[str, Any]:
    return {**asdict(change), "kind": change.kind, "bytes": change.bytes}
