"""How much of its disk a store may occupy, and what it does so that this stays so.

What the store holds is known from a note (``size.json``) of what the last cleaning left and builds have added since: a
build looks at the store itself only where that says that there is too much, or where the note is a day old.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from blockdev.core.errors import UsageError
from stages.layers.size_note import grow, note
from stages.layers.store import Store
from stages.protocol import events
from stages.protocol.emit import emit
from stages.protocol.request import UNLIMITED

SETTING = "store_size"  # the request's argument: see ``limit``
# Shares of the disk: what a store may occupy, what should stay free, what a store may occupy all the same.
MOST, FREE, RESERVED = 5, 10, 20
SMALL_DISK = 4 << 30  # bytes: so much, or half of the disk, a store may occupy whatever its share is
SCARCE = 20, 2 << 30  # the disk is nearly full: less than this share of it is free, and less than so many bytes
ROOM = 0.9  # of the limit is left by a cleaning: the next build is not to clean again


@dataclass(frozen=True)
class Disk:
    """The store's file system, in bytes."""

    total: int
    free: int

    @classmethod
    def of(cls, store: Store) -> Disk:
        """As it is now."""
        free, total = store.free()
        return cls(total, free)

    @property
    def is_scarce(self) -> bool:
        """Is so little free that a stage may well fail."""
        return self.free < min(self.total // SCARCE[0], SCARCE[1])


def parse(setting: str) -> int | None:
    """The bytes that a setting allows; None for "unlimited". Raises UsageError."""
    if setting == UNLIMITED:
        return None
    try:
        return max(0, int(setting))
    except ValueError as error:
        raise UsageError(f"{setting!r} is not the size of a store", hint="DIB_CTR_STORE_SIZE=20G") from error


def limit(disk: Disk, setting: str, held: int) -> int | None:
    """What the store, which holds ``held`` bytes now, may occupy (None: as much as there is).

    ``setting`` is a number of bytes, "unlimited", or "" for a share of the disk of which a part stays free.
    """
    if setting:
        return parse(setting)
    share = max(disk.total // MOST, min(SMALL_DISK, disk.total // 2))
    room = held + disk.free - disk.total // FREE
    return min(share, max(room, disk.total // RESERVED))


def keep_within(store: Store, setting: str, free: int) -> int:
    """A build has made the store grow; clean where it holds too much now. Returns the bytes that went.

    ``free`` is what was free of the disk before: what others wrote there meanwhile only brings the next count nearer.
    """
    added = free - store.free()[0]
    if setting == UNLIMITED or added <= 0:
        return 0
    from stages.layers.prune import prune
    from stages.layers.retention import list_items, list_records

    held = grow(store, added)
    if held is None:
        held = sum(item.bytes for item in list_items(store, list_records(store)))
        note(store, held)
    most = limit(Disk.of(store), setting, held)
    if most is None or held <= most:
        return 0
    return prune(store, older_than=None, max_bytes=int(most * ROOM), everything=False)["freed"]


def make_room(store: Store, arguments: Mapping[str, str]) -> int:
    """Before a build and each of its stages: on a nearly full disk, let go of what no build needs, and say so.

    Returns the bytes that went.
    """
    disk = Disk.of(store)
    if arguments.get(SETTING, "") == UNLIMITED or not disk.is_scarce:
        return 0
    from stages.layers.prune import prune
    from stages.layers.retention import list_items, list_records

    held = sum(item.bytes for item in list_items(store, list_records(store)))
    most = max(0, held - disk.total // FREE + disk.free)
    freed = prune(store, older_than=None, max_bytes=most, everything=False)["freed"]
    if freed:
        emit(
            events.Note(text=f"the store's disk is nearly full: let go of {freed / 1e6:.0f} MB that no build needs now")
        )
    return freed
