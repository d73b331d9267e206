"""The bytes of a disk's partition table, just as it was laid out.

GPT: UEFI specification 2.10, chapter 5 (protective MBR 5.2.3, header 5.3.2, entries 5.3.3). MBR: a table in the first
sector, and for each logical partition one of its own, an alignment unit before it, in a chain. Addresses by cylinder,
head and sector are those of a disk with 255 heads and 63 sectors, and the largest there are where it has more.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from collections.abc import Iterator

from blockdev.configuration.types import MBR_EXTENDED
from blockdev.core.units import SECTOR
from blockdev.layout.model import DiskLayout, Slot

_ENTRIES, _ENTRY = 128, 128
_SIGNATURE = b"\x55\xaa"
_CHAIN = 0x05
_HEADS, _SECTORS, _LAST = 255, 63, b"\xfe\xff\xff"
PROTECTIVE = 0xEE


def pieces(disk: DiskLayout) -> Iterator[tuple[int, bytes]]:
    """What to write for the disk's table, and at which bytes; all else there stays as it is."""
    if disk.table == "gpt":
        yield from _gpt(disk)
    elif disk.table == "mbr":
        yield from _mbr(disk)


def _gpt(disk: DiskLayout) -> Iterator[tuple[int, bytes]]:
    last = disk.size // disk.sector - 1
    span = -(-_ENTRIES * _ENTRY // disk.sector)
    entries = b"".join(_gpt_entry(slot, disk.sector) for slot in disk.slots).ljust(_ENTRIES * _ENTRY, b"\0")
    # The first sector has 512 bytes of protective MBR, however long it is.
    protective = _entry(0, PROTECTIVE, 1, min(last, 0xFFFFFFFF), active=False, chs=(b"\0\2\0", b"\xff\xff\xff"))
    yield 446, protective.ljust(64, b"\0") + _SIGNATURE
    first = max(2 + span, (1 << 20) // disk.sector)
    for here, other, table in ((1, last, 2), (last, 1, last - span)):
        yield here * disk.sector, _gpt_header(disk, entries, here, other, table, first, last - span - 1)
        yield table * disk.sector, entries


def _gpt_header(disk: DiskLayout, entries: bytes, here: int, other: int, table: int, first: int, last: int) -> bytes:
    fields = (here, other, first, last, uuid.UUID(disk.id).bytes_le, table, _ENTRIES, _ENTRY, zlib.crc32(entries))
    body = struct.pack("<8sIIII4Q16sQIII", b"EFI PART", 0x10000, 92, 0, 0, *fields)
    return body[:16] + struct.pack("<I", zlib.crc32(body)) + body[20:]


def _gpt_entry(slot: Slot, sector: int) -> bytes:
    kind, own = uuid.UUID(slot.type).bytes_le, uuid.UUID(slot.uuid).bytes_le
    name = slot.label.encode("utf-16-le")[:72]
    return struct.pack("<16s16sQQQ72s", kind, own, slot.start // sector, slot.end // sector - 1, 0, name)


def _mbr(disk: DiskLayout) -> Iterator[tuple[int, bytes]]:
    yield 440, struct.pack("<I2s", int(disk.id, 16), b"\0\0")
    primary = b"".join(_slot(slot, 0) for slot in disk.slots if slot.kind in {"primary", "extended"})
    yield 446, primary.ljust(64, b"\0") + _SIGNATURE
    extended = next((slot for slot in disk.slots if slot.kind == "extended"), None)
    logical = [slot for slot in disk.slots if slot.kind == "logical"]
    if extended is None:
        return
    places = [extended.start, *(-(-slot.end // _unit(disk)) * _unit(disk) for slot in logical[:-1])]
    for number, (slot, offset) in enumerate(zip(logical, places, strict=True)):
        table = _slot(slot, offset)
        if number + 1 < len(logical):
            following, end = places[number + 1], logical[number + 1].end
            start, count = (following - extended.start) // SECTOR, (end - following) // SECTOR
            table += _entry(following // SECTOR, _CHAIN, start, count, active=False)
        yield offset + 446, table.ljust(64, b"\0") + _SIGNATURE


def _unit(disk: DiskLayout) -> int:
    """The alignment unit of an MBR: what lies between the extended partition's begin and its first logical one."""
    extended = next(slot for slot in disk.slots if slot.kind == "extended")
    first = next(slot for slot in disk.slots if slot.kind == "logical")
    return first.start - extended.start


def _slot(slot: Slot, base: int) -> bytes:
    """The entry of a partition in a table at byte ``base``."""
    start, count = slot.start // SECTOR, slot.length // SECTOR
    kind = int(MBR_EXTENDED if slot.kind == "extended" else slot.type, 16)
    return _entry(start, kind, start - base // SECTOR, count, active=slot.bootable)


def _entry(
    at: int, kind: int, start: int, count: int, *, active: bool, chs: tuple[bytes, bytes] | None = None
) -> bytes:
    """An entry of an MBR: ``at`` is the absolute first sector, ``start`` the one that is written."""
    first, last = chs or (_chs(at), _chs(at + count - 1))
    return struct.pack("<B3sB3sII", 0x80 if active else 0, first, kind, last, start, count)


def _chs(sector: int) -> bytes:
    """A sector's cylinder, head and sector in three bytes."""
    cylinder, rest = divmod(sector, _HEADS * _SECTORS)
    if cylinder > 1023:
        return _LAST
    head, number = divmod(rest, _SECTORS)
    return bytes((head, (number + 1) | (cylinder >> 2) & 0xC0, cylinder & 0xFF))
