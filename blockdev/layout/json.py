"""A layout as plain data for JSON, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from blockdev.configuration.nodes import Subvolume
from blockdev.layout.model import (
    DiskLayout,
    FileSystem,
    GroupPlan,
    Layout,
    LogicalPlan,
    LuksPlan,
    Piece,
    Slot,
    Storage,
    VerityPlan,
)


def to_data(layout: Layout) -> dict[str, Any]:
    """Everything in a layout, as maps, lists, texts and numbers."""
    return dataclasses.asdict(layout)


def from_data(data: Mapping[str, Any]) -> Layout:
    """The layout that :func:`to_data` was given."""
    return Layout(
        disks=tuple(_with(DiskLayout, disk, slots=[Slot(**slot) for slot in disk["slots"]]) for disk in data["disks"]),
        storages={
            name: _with(Storage, storage, pieces=[Piece(**piece) for piece in storage["pieces"]])
            for name, storage in data["storages"].items()
        },
        file_systems=tuple(
            _with(
                FileSystem,
                system,
                options=system["options"],
                fstab=system["fstab"],
                subvolumes=[Subvolume(**one) for one in system["subvolumes"]],
            )
            for system in data["file_systems"]
        ),
        groups=tuple(
            _with(
                GroupPlan,
                group,
                physical=[tuple(pair) for pair in group["physical"]],
                logical=[_with(LogicalPlan, one, options=one["options"]) for one in group["logical"]],
                options=group["options"],
            )
            for group in data["groups"]
        ),
        luks=tuple(LuksPlan(**one) for one in data["luks"]),
        verity=tuple(VerityPlan(**one) for one in data["verity"]),
        remarks=tuple(data["remarks"]),
        mount_points=tuple(data["mount_points"]),
    )


def _with(kind: type[Any], data: Mapping[str, Any], **lists: Any) -> Any:
    """A value of ``kind`` from ``data``, its lists as tuples."""
    return kind(**{**data, **{name: None if value is None else tuple(value) for name, value in lists.items()}})
