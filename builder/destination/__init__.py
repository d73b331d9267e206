"""Where outputs land: their places, how they become whole, and what is remembered of them."""

from builder.destination.partial import partial, remove, sweep
from builder.destination.place import bring, close_tree, place_output, swap, unpack
from builder.destination.receive import shown
from builder.destination.side_files import SideFiles, bring_side_files, moved_aside
from builder.destination.targets import (
    COMPRESSED,
    FILES,
    SUFFIXES,
    check_folder_of,
    check_targets,
    is_files,
    refuse_others,
    side_folder_of,
    target_of,
)
from builder.destination.written_outputs import Memory, fingerprint, memory

__all__ = [
    "COMPRESSED",
    "FILES",
    "SUFFIXES",
    "Memory",
    "SideFiles",
    "bring",
    "bring_side_files",
    "check_folder_of",
    "check_targets",
    "close_tree",
    "fingerprint",
    "is_files",
    "memory",
    "moved_aside",
    "partial",
    "place_output",
    "refuse_others",
    "remove",
    "shown",
    "side_folder_of",
    "swap",
    "sweep",
    "target_of",
    "unpack",
]
