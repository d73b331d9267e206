"""Write a group's labels and metadata onto its physical volumes."""

from __future__ import annotations

import os
from collections.abc import Mapping

from blockdev.configuration.sizes import shown
from blockdev.core.errors import BuildError
from blockdev.core.units import SECTOR
from blockdev.filesystems.region import Region, require_blank
from blockdev.lvm import layout
from blockdev.lvm.model import PhysicalVolume, VolumeGroup
from blockdev.lvm.render import render

_AREA_SIZE = 1 << 20  # bytes from the begin of a physical volume to the end of its metadata area, where data may begin


def write(group: VolumeGroup, regions: Mapping[str, Region]) -> None:
    """Write label and metadata of ``group`` into the region of each of its physical volumes (by name).

    Touches two sectors and the text in the first MiB of each; the rest stays as it is. BuildError: a region is missing,
    too small or not blank there, or the metadata is too long.
    """
    text = render(group).encode() + b"\0"
    for volume in group.physical:
        _check(group, volume, regions.get(volume.name), text)
    for volume in group.physical:
        _write(volume, regions[volume.name], text)


def _check(group: VolumeGroup, volume: PhysicalVolume, region: Region | None, text: bytes) -> None:
    where = f"physical volume {volume.name} of volume group {group.name}"
    if region is None:
        raise BuildError("a physical volume has no place in an image", where=where, hint="name it in the group's base")
    if region.length < volume.size:
        raise BuildError(
            f"a physical volume of {shown(volume.size)} does not fit where {shown(region.length)} are",
            where=f"{where}, {region}",
            hint="allocate the group with the size of that place",
        )
    if volume.start < _AREA_SIZE:
        raise BuildError(f"the extents begin at byte {volume.start}, within the metadata area", where=where)
    room = (_AREA_SIZE - layout.METADATA_START - SECTOR) // 2 - SECTOR  # LVM writes a next text beside
    if len(text) > room:
        raise BuildError(
            f"the metadata of {len(group.logical)} logical volumes takes {shown(len(text))} of at most {shown(room)}",
            where=where,
            hint="use fewer logical volumes",
        )
    try:
        require_blank(Region(region.image, region.offset, _AREA_SIZE))
    except BuildError as error:
        raise BuildError("the place of a physical volume is not blank", where=error.where, hint=error.hint) from error


def _write(volume: PhysicalVolume, region: Region, text: bytes) -> None:
    file = os.open(region.image, os.O_RDWR | os.O_CLOEXEC)
    try:
        end = region.offset + region.length
        if os.fstat(file).st_size < end:
            os.ftruncate(file, end)
        area = region.offset + layout.METADATA_START
        for offset, content in (
            (area + SECTOR, text),
            (area, metadata_header(text)),
            (region.offset + SECTOR, label(volume)),
        ):
            if os.pwrite(file, content, offset) != len(content):
                raise BuildError("the disk is full", where=str(region), hint="make room and build again")
    finally:
        os.close(file)


def label(volume: PhysicalVolume) -> bytes:
    """The label sector (sector 1) of a physical volume with one metadata area."""
    header = b"".join(
        (
            layout.PHYSICAL.pack(volume.uuid.replace("-", "").encode("ascii"), volume.size),
            layout.AREA.pack(volume.start, 0) + layout.AREA.pack(0, 0),
            layout.AREA.pack(layout.METADATA_START, _AREA_SIZE - layout.METADATA_START) + layout.AREA.pack(0, 0),
            layout.EXTENSION.pack(layout.EXTENSION_VERSION, layout.IN_USE),
        )
    )

    def sector(checksum: int) -> bytes:
        begin = layout.LABEL.pack(layout.LABEL_ID, 1, checksum, layout.LABEL.size, layout.LABEL_TYPE)
        return (begin + header).ljust(SECTOR, b"\0")

    return sector(layout.checksum(sector(0)[layout.LABEL_CHECKED :]))


def metadata_header(text: bytes) -> bytes:
    """The sector before the ring of text, whose first entry is ``text``."""
    location = layout.PLACE.pack(SECTOR, len(text), layout.checksum(text), 0)
    size = _AREA_SIZE - layout.METADATA_START

    def sector(checksum: int) -> bytes:
        begin = layout.METADATA.pack(
            checksum, layout.METADATA_MAGIC, layout.METADATA_VERSION, layout.METADATA_START, size
        )
        return (begin + location).ljust(SECTOR, b"\0")

    return sector(layout.checksum(sector(0)[layout.METADATA_CHECKED :]))
