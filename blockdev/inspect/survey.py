"""Puts it together: everything there is to say about a disk image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from blockdev.inspect import bootloaders, esp, image, rootfs, signatures, superblocks, table
from blockdev.inspect.bytes_view import View
from blockdev.inspect.lvm import with_groups
from blockdev.inspect.model import Content, Inspection, Loader, Region, System, Table
from blockdev.inspect.tools import ToolSandbox, Unreadable, bench

_NOTHING = frozenset({"blank", "unknown"})


def inspect(path: Path, sector_size: int | None = None, say: Callable[[str], None] = lambda _: None) -> Inspection:
    """Read a disk image; ``sector_size`` (bytes) where it is known, else it is found out.

    ``say`` gets a sentence when something takes long. Raises UsageError where there is no image, BuildError where it
    is so damaged that nothing can be read. The image is never written to.
    """
    with image.opened(path, say) as found, bench(found.raw) as work:
        layout, places = survey(found.view, sector_size)
        places = with_groups(found.raw, found.view, places)
        remarks = []
        if found.size % layout.sector_size:
            remarks.append(f"the disk has {found.size} bytes, which are not whole sectors of {layout.sector_size}")
        loaders = _loaders(work, places, remarks)
        boot = bootloaders.find(found.view, layout, places, loaders)
        system = _system(work, places, remarks)
        return Inspection(
            str(path), found.format, found.size, found.allocated, layout, places, boot, system, tuple(remarks)
        )


def survey(view: View, sector_size: int | None = None) -> tuple[Table, tuple[Region, ...]]:
    """The partition table of a disk and what is in its partitions; without one, or below it, what is on the disk."""
    found = table.read(view, sector_size)
    places = _places(view, found)
    if found.kind == "mbr" and not sector_size and not _holds(places):
        # An MBR does not say how large its sectors are.
        other = table.read(view, table.SECTOR_SIZES[-1])
        elsewhere = _places(view, other)
        if _holds(elsewhere):
            return other, elsewhere
    if not places:
        whole = signatures.identify(view)
        if found.kind == "none" or whole.kind not in _NOTHING:
            return found, (Region(None, 0, view.size, whole),)
    elif iso := superblocks.iso9660(
        view
    ):  # partitions are laid over images for optical discs, so that they start from all
        return found, (Region(None, 0, view.size, iso), *places)
    return found, places


def _places(view: View, found: Table) -> tuple[Region, ...]:
    return tuple(
        Region(one, one.start, one.length, signatures.identify(view.part(one.start, one.length)))
        for one in found.partitions
        if one.kind != "extended"
    )


def _holds(places: Sequence[Region]) -> bool:
    return any(place.content.kind not in _NOTHING for place in places)


def _loaders(work: ToolSandbox, places: Sequence[Region], remarks: list[str]) -> list[Loader]:
    """The EFI programs of all FAT file systems."""
    found: list[Loader] = []
    for place in places:
        if place.content.kind == "vfat":
            number = place.partition.number if place.partition else 0
            try:
                found += esp.loaders(work, number, place.start)
            except Unreadable as error:
                remarks.append(f"the files of {where(place)} cannot be read: {error}")
    return found


def _system(work: ToolSandbox, places: Sequence[Region], remarks: list[str]) -> System | None:
    for name, offset, content in volumes(places):
        try:
            if system := rootfs.find(work, name, offset, content):
                return system
        except Unreadable as error:
            remarks.append(f"the files of {name} cannot be read: {error}")
    return None


def volumes(places: Sequence[Region]) -> list[tuple[str, int, Content]]:
    """All that lies in one piece in the image and may hold files: where, its first byte, what it is."""
    found: list[tuple[str, int, Content]] = []
    for place in places:
        found.append((where(place), place.start, place.content))
        if place.group:
            found += [
                (f"volume {place.group.name}/{volume.name}", volume.offset, volume.content)
                for volume in place.group.volumes
                if volume.offset is not None
            ]
    return found


def where(place: Region) -> str:
    """A place as it is called in a sentence."""
    return f"partition {place.partition.number}" if place.partition else "the disk"
