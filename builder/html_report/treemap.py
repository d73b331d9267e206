"""Sizes as areas of a rectangle: which cell is where."""

from __future__ import annotations

from collections.abc import Sequence

import squarify

from builder.html_report.page import Cell, Map
from builder.inspection.size import Share, largest

MOST = 40  # cells: smaller ones are put together
SHADES = 6
_WIDE, _HIGH = 160.0, 100.0  # what a cell that is as wide as high is measured by


def treemap(what: str, shares: Sequence[Share]) -> Map:
    """The map of what a size has by package or by directory; ``shares`` are the largest first."""
    shown = [share for share in largest([share for share in shares if share.bytes > 0], MOST) if share.bytes > 0]
    in_order = sorted(shown, key=lambda share: -share.bytes)
    areas = squarify.normalize_sizes([share.bytes for share in in_order], _WIDE, _HIGH) if in_order else []
    rectangles = squarify.squarify(areas, 0, 0, _WIDE, _HIGH) if in_order else []
    cells = tuple(
        Cell(
            name=share.name,
            bytes=share.bytes,
            left=100 * rectangle["x"] / _WIDE,
            top=100 * rectangle["y"] / _HIGH,
            width=100 * rectangle["dx"] / _WIDE,
            height=100 * rectangle["dy"] / _HIGH,
            shade=number % SHADES,
            detail=share.version,
        )
        for number, (share, rectangle) in enumerate(zip(in_order, rectangles, strict=True))
    )
    return Map(what, sum(share.bytes for share in shares), cells)
