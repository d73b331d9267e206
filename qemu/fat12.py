"""Writes a small FAT12 file system from nothing, always the same bytes for the same files.

After Microsoft's "FAT32 File System Specification" (which is FAT12's as well), sections 3, 4, 6, 7.
There is one folder, and no time of day.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from blockdev.core.units import SECTOR

_CLUSTER = 4 * SECTOR
_ROOT_ENTRIES = 128
_SPARE = 64  # clusters; some readers refuse a file system without any room
_MOST_CLUSTERS = 4084  # from 4085 on it would be a FAT16
_LAST = 0xFFF
# 1980-01-01, the first date there is.
_DATE = 1 << 5 | 1
_LONG, _VOLUME, _ARCHIVE = 0x0F, 0x08, 0x20
_LETTERS_PER_ENTRY = 13


def image(label: str, files: Mapping[str, bytes]) -> bytes:
    """A whole file system with these files, by name, in its one folder.

    ``label`` is of at most 11 ASCII letters. ValueError where the files are too large (8 MiB) or too many.
    """
    table = [0xFF8, _LAST]
    data = b""
    entries = _entry(label.upper().ljust(11).encode("ascii"), _VOLUME, 0, 0)
    for number, name in enumerate(sorted(files)):
        content = files[name]
        clusters = -(-len(content) // _CLUSTER)
        first = len(table) if clusters else 0
        table += [*range(first + 1, first + clusters), _LAST] if clusters else []
        data += content.ljust(clusters * _CLUSTER, b"\0")
        short = f"FILE{number:04d}   ".encode("ascii")
        entries += _long_name(name, short) + _entry(short, _ARCHIVE, first, len(content))
    if len(entries) > _ROOT_ENTRIES * 32:
        raise ValueError("too many files, or too long names")
    count = len(table) - 2 + _SPARE
    if count > _MOST_CLUSTERS:
        raise ValueError(f"{len(data)} bytes are too many for a FAT12 file system")
    fat = _packed(table, count + 2)
    whole = _boot_sector(label, count, len(fat) // SECTOR) + fat + fat + entries.ljust(_ROOT_ENTRIES * 32, b"\0")
    return (whole + data).ljust(len(whole) + count * _CLUSTER, b"\0")


def _boot_sector(label: str, clusters: int, fat_sectors: int) -> bytes:
    total = 1 + 2 * fat_sectors + _ROOT_ENTRIES * 32 // SECTOR + clusters * _CLUSTER // SECTOR
    head = struct.pack(
        "<3s8sHBHBHHBHHHII",
        b"\xeb\x3c\x90",
        b"MSWIN4.1",  # the name that the specification recommends
        *(SECTOR, _CLUSTER // SECTOR, 1, 2, _ROOT_ENTRIES, total, 0xF8, fat_sectors),
        *(32, 2, 0, 0),  # geometry, hidden sectors, the long count of sectors
    )
    volume = label.upper().ljust(11).encode("ascii")
    head += struct.pack("<BBBI11s8s", 0x80, 0, 0x29, 0x01DB0C7A, volume, b"FAT12   ")
    return head.ljust(510, b"\0") + b"\x55\xaa"


def _packed(table: list[int], length: int) -> bytes:
    """The table: 12 bits an entry, two of them in three bytes."""
    padded = table + [0] * (length - len(table) + length % 2)
    pairs = (low | high << 12 for low, high in zip(padded[::2], padded[1::2], strict=True))
    packed = b"".join(pair.to_bytes(3, "little") for pair in pairs)
    return packed.ljust(-(-len(packed) // SECTOR) * SECTOR, b"\0")


def _entry(name: bytes, attributes: int, cluster: int, size: int) -> bytes:
    return struct.pack("<11sBBBHHHHHHHI", name, attributes, 0, 0, 0, _DATE, _DATE, 0, 0, _DATE, cluster, size)


def _long_name(name: str, short: bytes) -> bytes:
    """The entries of a long name, which come last part first before the one of the short name."""
    checksum = 0
    for byte in short:
        checksum = ((checksum & 1) << 7 | checksum >> 1) + byte & 0xFF
    parts = [name[at : at + _LETTERS_PER_ENTRY] for at in range(0, len(name), _LETTERS_PER_ENTRY)]
    entries = b""
    for order in range(len(parts), 0, -1):
        letters = parts[order - 1].encode("utf-16-le")
        if len(letters) < 2 * _LETTERS_PER_ENTRY:
            letters = (letters + b"\0\0").ljust(2 * _LETTERS_PER_ENTRY, b"\xff")
        last = 0x40 if order == len(parts) else 0
        entries += struct.pack(
            "<B10sBBB12sH4s", order | last, letters[:10], _LONG, 0, checksum, letters[10:22], 0, letters[22:]
        )
    return entries
