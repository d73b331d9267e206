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
    with image.opened(path, say) as disk, bench(disk.raw) as work:
        layout, places = survey(disk.view, sector_size)
        places = with_groups(disk.raw, disk.view, places)
        remarks = []
        if disk.size % layout.sector_size:
            remarks.append(f"the disk has {disk.size} bytes, which are not whole sectors of {layout.sector_size}")
        loaders = _loaders(work, places, remarks)
        boot = bootloaders.find(disk.view, layout, places, loaders)
        system = _system(work, places, remarks)
        return Inspection(
            str(path), disk.format, disk.size, disk.allocated, layout, places, boot, system, tuple(remarks)
        )


def survey(view: View, sector_size: int | None = None) -> tuple[Table, tuple[Region, ...]]:
    """The partition table of a disk and what is in its partitions; without one, or below it, what is on the disk."""
    partitions = table.read(view, sector_size)
    places = _places(view, partitions)
    if partitions.kind == "mbr" and not sector_size and not _holds(places):
        # An MBR does not say how large its sectors are.
        other = table.read(view, table.SECTOR_SIZES[-1])
        elsewhere = _places(view, other)
        if _holds(elsewhere):
            return other, elsewhere
    if not places:
        whole = signatures.identify(view)
        if partitions.kind == "none" or whole.kind not in _NOTHING:
            return partitions, (Region(None, 0, view.size, whole),)
    elif iso := superblocks.iso9660(
        view
    ):  # partitions are laid over images for optical discs, so that they start from all
        return partitions, (Region(None, 0, view.size, iso), *places)
    return partitions, places


def _places(view: View, partitions: Table) -> tuple[Region, ...]:
    return tuple(
        Region(
            partition,
            partition.start,
            partition.length,
            signatures.identify(view.part(partition.start, partition.length)),
        )
        for partition in partitions.partitions
        if partition.kind != "extended"
    )


def _holds(places: Sequence[Region]) -> bool:
    return any(region.content.kind not in _NOTHING for region in places)


def _loaders(work: ToolSandbox, places: Sequence[Region], remarks: list[str]) -> list[Loader]:
    """The EFI programs of all FAT file systems."""
    loaders: list[Loader] = []
    for region in places:
        if region.content.kind == "vfat":
            number = region.partition.number if region.partition else 0
            try:
                loaders += esp.loaders(work, number, region.start)
            except Unreadable as error:
                remarks.append(f"the files of {where(region)} cannot be read: {error}")
    return loaders


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
    contents: list[tuple[str, int, Content]] = []
    for region in places:
        contents.append((where(region), region.start, region.content))
        if region.group:
            contents += [
                (f"volume {region.group.name}/{volume.name}", volume.offset, volume.content)
                for volume in region.group.volumes
                if volume.offset is not None
            ]
    return contents


def where(region: Region) -> str:
    """A place as it is called in a sentence."""
    return f"partition {region.partition.number}" if region.partition else "the disk"
