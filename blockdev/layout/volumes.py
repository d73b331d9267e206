"""Where logical volumes lie on the storages of their group: LVM's own allocation, asked before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from blockdev.configuration.nodes import Node
from blockdev.core.errors import BuildError, UsageError
from blockdev.layout.model import GroupPlan, Piece, Storage

if TYPE_CHECKING:
    from blockdev.lvm.model import VolumeGroup

THIN = "thin"


def allocated(group: GroupPlan, storages: Mapping[str, Storage], seed: str, epoch: int) -> VolumeGroup:
    """The volume group with all volumes that take extents of it (thin ones take none). BuildError: one has no room."""
    from blockdev.lvm.allocate import VolumeSpec, allocate

    return allocate(
        group.name,
        [(name, storages[on].size) for name, on in group.physical],
        [VolumeSpec(volume.name, volume.size, volume.extents) for volume in group.logical if volume.type != THIN],
        seed=seed,
        epoch=epoch,
    )


def storages(
    group: GroupPlan, below: Mapping[str, Storage], seed: str, node: Node, *, lenient: bool
) -> dict[str, Storage]:
    """The storages of a group's logical volumes, by name.

    ``lenient``: while the disks still grow, volumes without room are empty. UsageError at ``node`` else.
    """
    from blockdev.lvm.model import places

    try:
        volume_group = allocated(group, below, seed, 0)
    except BuildError as error:
        if lenient:
            return {plan.name: Storage(plan.name, "logical", group.name, 0) for plan in group.logical}
        raise UsageError(error.what, where=str(node.where), hint=error.hint) from error
    on = dict(group.physical)
    result = {}
    for volume in volume_group.logical:
        pieces = tuple(
            piece
            for physical, offset, length in places(volume_group, volume)
            for piece in within(below[on[physical]], offset, length)
        )
        result[volume.name] = Storage(
            volume.name, "logical", group.name, volume.extents * volume_group.extent_size, pieces
        )
    for plan in group.logical:
        if plan.type == THIN:
            result[plan.name] = Storage(plan.name, "logical", group.name, plan.size or 0)
    return result


def within(storage: Storage, offset: int, length: int) -> list[Piece]:
    """The pieces of ``length`` bytes of a storage from byte ``offset`` of it on."""
    pieces = []
    for piece in storage.pieces:
        if offset < piece.length and length > 0:
            part = min(piece.length - offset, length)
            pieces.append(Piece(piece.disk, piece.offset + offset, part))
            length -= part
        offset = max(0, offset - piece.length)
    return pieces
