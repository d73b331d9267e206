"""The boot sector of FAT 12, 16 and 32 (Microsoft's "FAT: General Overview of On-Disk Format", 1.03). Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from blockdev.inspect.bytes_view import View, text
from blockdev.inspect.mbr import is_volume
from blockdev.inspect.model import Content

_MOST_FAT12, _MOST_FAT16 = 4084, 65524  # clusters
_MOST_ROOT = 1 << 20  # bytes of the root folder that are looked at for the label
_VOLUME_LABEL, _LONG_NAME = 0x08, 0x0F
_UNKNOWN_FREE = 0xFFFFFFFF


@dataclass(frozen=True)
class _Shape:
    """The measures of a file system; places in sectors."""

    sector: int
    cluster: int
    reserved: int
    fats: int
    fat_length: int
    root_entries: int
    sectors: int
    bits: int
    clusters: int

    @property
    def root(self) -> int:
        """The first sector after the FATs."""
        return self.reserved + self.fats * self.fat_length


def _shape(raw: bytes) -> _Shape | None:
    sector, cluster, reserved, fats, entries, total16, _, fat16 = struct.unpack_from("<HBHBHHBH", raw, 11)
    total32, fat32 = struct.unpack_from("<II", raw, 32)
    total, length = total16 or total32, fat16 or fat32
    data = total - reserved - fats * length - -(-entries * 32 // sector)
    clusters = data // cluster
    if not length or clusters <= 0 or (fat16 and clusters > _MOST_FAT16):
        return None
    bits = 32 if not fat16 else 12 if clusters <= _MOST_FAT12 else 16
    return _Shape(sector, cluster, reserved, fats, length, entries, total, bits, clusters)


def read(view: View) -> Content | None:
    """A FAT's boot sector, None where there is none."""
    raw = view.read(0, 512)
    if raw[510:512] != b"\x55\xaa" or raw[3:11] in (b"NTFS    ", b"EXFAT   ", b"-FVE-FS-") or not is_volume(raw):
        return None
    shape = _shape(raw)
    if shape is None:
        return None
    extra = 64 if shape.bits == 32 else 36  # drive number, state, signature, serial number, label
    serial, name = "", ""
    if raw[extra + 2] in (0x28, 0x29):
        number = struct.unpack_from("<I", raw, extra + 3)[0]
        serial = f"{number >> 16:04X}-{number & 0xFFFF:04X}"
        name = text(raw[extra + 7 : extra + 18], "cp850") if raw[extra + 2] == 0x29 else ""
    label = _root_label(view, shape, raw)
    if label is None:
        label = "" if name == "NO NAME" else name
    return Content(
        kind="vfat",
        label=label,
        uuid=serial,
        size=shape.sectors * shape.sector,
        free=_free(view, shape, raw),
        clean=_clean(view, shape, raw, extra),
        details={"fat": shape.bits, "sector_size": shape.sector, "cluster_size": shape.cluster * shape.sector},
    )


def _root_label(view: View, shape: _Shape, raw: bytes) -> str | None:
    """The label that the root folder has (the one that counts); None where it has none."""
    if shape.bits == 32:
        (cluster,) = struct.unpack_from("<I", raw, 44)
        sector = shape.root + max(0, cluster - 2) * shape.cluster
        length = shape.cluster * shape.sector
    else:
        sector, length = shape.root, shape.root_entries * 32
    folder = view.read(sector * shape.sector, min(length, _MOST_ROOT))
    for at in range(0, len(folder), 32):
        first, attributes = folder[at], folder[at + 11]
        if not first:
            break
        if first != 0xE5 and attributes & _VOLUME_LABEL and attributes & _LONG_NAME != _LONG_NAME:
            return text(folder[at : at + 11], "cp850")
    return None


def _free(view: View, shape: _Shape, raw: bytes) -> int | None:
    """Free bytes: as FAT32 remembers them, counted in the others."""
    size = shape.cluster * shape.sector
    if shape.bits == 32:
        info = view.read(struct.unpack_from("<H", raw, 48)[0] * shape.sector, 512)
        (count,) = struct.unpack_from("<I", info, 488)
        signed = info[:4] == b"RRaA" and info[484:488] == b"rrAa"
        return count * size if signed and count <= shape.clusters and count != _UNKNOWN_FREE else None
    table = view.read(shape.reserved * shape.sector, (shape.clusters + 2) * 2)
    if shape.bits == 16:
        return sum(not entry for entry in struct.unpack(f"<{shape.clusters + 2}H", table)[2:]) * size
    free = 0
    for number in range(2, shape.clusters + 2):
        (pair,) = struct.unpack_from("<H", table, number * 3 // 2)
        free += not (pair >> 4 if number % 2 else pair & 0xFFF)
    return free * size


def _clean(view: View, shape: _Shape, raw: bytes, extra: int) -> bool:
    """Neither Linux's mark in the boot sector nor the older one in the FAT's second entry says that it was in use."""
    if raw[extra + 1] & 1:
        return False
    if shape.bits == 12:
        return True
    start = view.read(shape.reserved * shape.sector, 8)
    if shape.bits == 16:
        return bool(struct.unpack_from("<H", start, 2)[0] & 0x8000)
    return bool(struct.unpack_from("<I", start, 4)[0] & 0x08000000)
