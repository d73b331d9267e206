"""Find a physical volume at a place of an image, and read the group it belongs to."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from blockdev.core.errors import BuildError
from blockdev.core.units import SECTOR
from blockdev.lvm import layout
from blockdev.lvm.allocate import hyphenated
from blockdev.lvm.config import DamagedError
from blockdev.lvm.interpret import Described, Volume, interpret
from blockdev.lvm.model import VolumeGroup

Reader = Callable[[int, int], bytes]  # offset in the physical volume, length -> that many bytes, fewer at its end
_LONGEST = 64 << 20  # bytes of text; what lvm2 writes by itself is below half a MiB


@dataclass(frozen=True)
class GroupDescription:
    """A physical volume of ``size`` bytes.

    ``group`` is None where no metadata is on it (it is in no group, or only other physical volumes keep the metadata);
    ``physical`` is its own name in the group ('' if the group does not know it), ``version`` the number of the
    group's version (seqno), ``volumes`` the kinds of the group's logical volumes in order.
    """

    uuid: str
    size: int
    group: VolumeGroup | None = None
    physical: str = ""
    version: int = 0
    volumes: tuple[Volume, ...] = ()


def read(image: Path, offset: int, length: int) -> GroupDescription | None:
    """What LVM2 has written at ``length`` bytes of ``image`` from byte ``offset`` on; None where it has not.

    BuildError: there is a label, but what it leads to is damaged.
    """
    file = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
    try:

        def piece(start: int, count: int) -> bytes:
            return os.pread(file, max(0, min(count, length - start)), offset + start)

        return examine(piece, f"{image}, {length} bytes from byte {offset}")
    finally:
        os.close(file)


def examine(piece: Reader, where: str) -> GroupDescription | None:
    """The same for bytes from anywhere; ``where`` names the place in errors."""
    try:
        sector = _label(piece)
        if sector is None:
            return None
        (start,) = layout.LABEL.unpack_from(sector)[3:4]
        letters, size = layout.PHYSICAL.unpack_from(sector, start)
        uuid = hyphenated(letters.decode("ascii", "replace"))
        described = _newest(piece, sector, start + layout.PHYSICAL.size)
    except DamagedError as error:
        raise BuildError(
            f"the LVM physical volume {error}", where=where, hint="repair it with vgck or pvck, or make it again"
        ) from error
    if described is None:
        return GroupDescription(uuid, size)
    own = next((volume.name for volume in described.group.physical if volume.uuid == uuid), "")
    return GroupDescription(uuid, size, described.group, own, described.version, described.volumes)


def _label(piece: Reader) -> bytes | None:
    """The sector with the label."""
    for number in range(layout.LABEL_SECTORS):
        sector = piece(number * SECTOR, SECTOR)
        if len(sector) < SECTOR:
            return None
        name, own, checksum, start, kind = layout.LABEL.unpack_from(sector)
        if name != layout.LABEL_ID or kind != layout.LABEL_TYPE:
            continue
        if checksum != layout.checksum(sector[layout.LABEL_CHECKED :]):
            raise DamagedError("has a label with a wrong checksum")
        if own != number or not layout.LABEL.size <= start <= SECTOR - layout.PHYSICAL.size:
            raise DamagedError("has a label that contradicts itself")
        return sector
    return None


def _newest(piece: Reader, sector: bytes, at: int) -> Described | None:
    """The newest of the intact metadata; None where there is none. DamagedError where all that there is is damaged."""
    _, at = _areas(sector, at)
    areas, _ = _areas(sector, at)
    descriptions, damage = list[Described](), list[DamagedError]()
    for offset, size in areas:
        try:
            text = _text(piece, offset, size)
            if text is not None:
                descriptions.append(_described(text))
        except DamagedError as error:
            damage.append(error)
    if damage and not descriptions:
        raise damage[0]
    return max(descriptions, key=lambda description: description.version, default=None)


def _areas(sector: bytes, at: int) -> tuple[list[tuple[int, int]], int]:
    """Offset and size of each area of the list at byte ``at`` of the label, and the byte after the list."""
    areas: list[tuple[int, int]] = []
    while at + layout.AREA.size <= len(sector):
        offset, size = layout.AREA.unpack_from(sector, at)
        at += layout.AREA.size
        if not offset:
            return areas, at
        areas.append((offset, size))
    raise DamagedError("has a label that does not end")


def _text(piece: Reader, start: int, size: int) -> str | None:
    """The text in a metadata area; None where it has none."""
    header = piece(start, SECTOR)
    if len(header) < SECTOR:
        raise DamagedError("ends before its metadata")
    checksum, magic, version, own, length = layout.METADATA.unpack_from(header)
    if checksum != layout.checksum(header[layout.METADATA_CHECKED :]):
        raise DamagedError("has a metadata area with a wrong checksum")
    if (magic, version, own, length) != (layout.METADATA_MAGIC, layout.METADATA_VERSION, start, size):
        raise DamagedError("has a metadata area that contradicts its label")
    offset, count, checksum, flags = layout.PLACE.unpack_from(header, layout.METADATA.size)
    if not offset or flags & layout.IGNORED:
        return None
    if not SECTOR <= offset < size or not 0 < count <= min(size - SECTOR, _LONGEST):
        raise DamagedError("has metadata outside of its area")
    first = min(count, size - offset)  # the area is a ring: the rest is at its begin
    text = piece(start + offset, first) + piece(start + SECTOR, count - first)
    if len(text) != count:
        raise DamagedError("ends before its metadata")
    if checksum != layout.checksum(text):
        raise DamagedError("has metadata with a wrong checksum")
    return text.rstrip(b"\0").decode("utf-8", "replace")


def _described(text: str) -> Described:
    try:
        return interpret(text)
    except DamagedError as error:
        raise DamagedError(f"has metadata that {error}") from error
