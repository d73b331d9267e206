"""What a region of a disk holds, from its first bytes. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from blockdev.inspect import bootcode, ext, fat, luks, other_signatures, superblocks, zipl
from blockdev.inspect.bytes_view import View
from blockdev.inspect.model import Content

# Containers first: what they hold begins with a header of its own elsewhere, and an old file system's may be left.
READERS: tuple[Callable[[View], Content | None], ...] = (
    luks.read,
    other_signatures.lvm,
    other_signatures.raid,
    other_signatures.verity,
    other_signatures.by_name,
    superblocks.xfs,
    superblocks.squashfs,
    superblocks.btrfs,
    superblocks.swap,
    superblocks.erofs,
    ext.read,
    other_signatures.f2fs,
    superblocks.iso9660,
    fat.read,
    bootcode.core_content,
    other_signatures.elf,
    zipl.content,
)
_SHOWN = 16


def identify(view: View) -> Content:
    """What lies in a view. ``blank`` is all zeros, ``unknown`` tells its first bytes."""
    contents = [content for content in (reader(view) for reader in READERS) if content]
    if contents:
        return _checked(contents, view.size)
    if view.blank():
        return Content("blank")
    first = view.read(0, min(_SHOWN, view.size))
    return Content("unknown", details={"first_bytes": first.hex(" ")})


def _checked(contents: list[Content], size: int) -> Content:
    chosen, *others = contents
    remarks = list(chosen.remarks)
    if others:
        remarks.append(f"marks of {' and '.join(other.kind for other in others)} are there as well")
    if chosen.size is not None and chosen.size > size:
        remarks.append(f"the {chosen.kind} says that it has {chosen.size} bytes, and has {size}: its end is missing")
    if chosen.clean is False:
        remarks.append(f"the {chosen.kind} is not clean: it was not unmounted, or has errors")
    return replace(chosen, remarks=tuple(remarks))
