"""A layout as plain data for JSON, and back."""

from __future__ import annotations

import dataclasses
from typing import Any

from blockdev.core.typed_json import read
from blockdev.layout.model import Layout


def to_data(layout: Layout) -> dict[str, Any]:
    """Everything in a layout, as maps, lists, texts and numbers."""
    return dataclasses.asdict(layout)


def from_data(data: Any) -> Layout:
    """The layout that :func:`to_data` was given, by way of JSON; ValueError for anything else.

    What else stands beside its parts (``dib-ctr disk plan --json`` adds an fstab) is passed over.
    """
    if isinstance(data, dict):
        data = {name: value for name, value in data.items() if name in Layout.__dataclass_fields__}
    return read(Layout, data)
