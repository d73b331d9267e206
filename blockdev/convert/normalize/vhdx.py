"""VHDX: qemu-img puts random GUIDs, sequence numbers and a used log into an image; what follows makes all of it plain.

After Microsoft's [MS-VHDX]: two headers of 4 KiB at 64 and 128 KiB (section 2.2.2: signature "head", CRC-32C at 4,
sequence number at 8, FileWriteGuid at 16, DataWriteGuid at 32, LogGuid at 48, the log's length at 68 and offset at 72;
the one with the greater sequence number counts), the region table at 192 KiB (2.2.3), the log (2.3), and the metadata
table (2.6.1) with "Page 83 Data" (2.6.2.6). All in little endian. A log whose LogGuid is zero holds nothing to replay:
its old entries may go.

Nothing varies any more between two runs of one qemu-img. What it says of itself stays: the "Creator" of the file
identifier (section 2.2.1) names its version, as the creator fields of other formats do.
"""

from __future__ import annotations

import struct
from uuid import UUID

from blockdev.core.crc32c import crc32c
from blockdev.core.errors import BuildError

HEADER = 4096
HEADERS = (64 << 10, 128 << 10)
REGION_TABLE = 192 << 10
TABLE = 64 << 10
METADATA = UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e")
_PAGE_83 = UUID("beca12ab-b2e6-4523-93ef-c309e000c746")
_MOST_ENTRIES = 2047
_ENTRY = 32


def _checksum(block: bytes) -> int:
    return crc32c(block[:4] + bytes(4) + block[8:])


def is_whole(header: bytes) -> bool:
    """Is this a header whose checksum is right?"""
    if len(header) != HEADER or not header.startswith(b"head"):
        return False
    return int(struct.unpack_from("<I", header, 4)[0]) == _checksum(header)


def pinned(first: bytes, second: bytes, file_write: UUID, data_write: UUID) -> tuple[bytes, bytes]:
    """Both headers anew, made of the one that counts: with these GUIDs, sequence numbers 1 and 2, and no log to replay.

    BuildError where neither is whole, or where the log is in use.
    """
    whole = [header for header in (first, second) if is_whole(header)]
    if not whole:
        raise BuildError("this is no VHDX: neither of its headers is whole")
    current = max(whole, key=sequence)
    if any(current[48:64]):
        raise BuildError("this VHDX was not closed: its log is in use")
    changed = bytearray(current)
    changed[16:32] = file_write.bytes_le
    changed[32:48] = data_write.bytes_le
    return _numbered(changed, 1), _numbered(changed, 2)


def sequence(header: bytes) -> int:
    """A header's sequence number."""
    return int(struct.unpack_from("<Q", header, 8)[0])


def _numbered(header: bytearray, number: int) -> bytes:
    copy = bytearray(header)
    struct.pack_into("<Q", copy, 8, number)
    struct.pack_into("<I", copy, 4, _checksum(bytes(copy)))
    return bytes(copy)


def log_place(header: bytes) -> tuple[int, int]:
    """Offset and length (bytes) of the log."""
    length, offset = struct.unpack_from("<IQ", header, 68)
    return offset, length


def metadata_place(table: bytes) -> tuple[int, int]:
    """Offset and length (bytes) of the metadata region, from the region table (64 KiB)."""
    if not table.startswith(b"regi"):
        raise BuildError("this VHDX has no region table")
    (count,) = struct.unpack_from("<I", table.ljust(16, b"\0"), 8)
    for number in range(min(count, _MOST_ENTRIES, max(0, len(table) - 16) // _ENTRY)):
        guid, offset, length = struct.unpack_from("<16sQI", table, 16 + number * _ENTRY)
        if UUID(bytes_le=guid) == METADATA:
            return offset, length
    raise BuildError("this VHDX has no metadata")


def page_83_place(table: bytes) -> int:
    """Where the 16 bytes that name the disk lie: the offset in the metadata region, from the metadata table."""
    if not table.startswith(b"metadata"):
        raise BuildError("this VHDX has no metadata table")
    (count,) = struct.unpack_from("<H", table.ljust(12, b"\0"), 10)
    for number in range(min(count, _MOST_ENTRIES, max(0, len(table) - 32) // _ENTRY)):
        guid, offset, length = struct.unpack_from("<16sII", table, 32 + number * _ENTRY)
        if UUID(bytes_le=guid) == _PAGE_83 and length == len(guid):
            return int(offset)
    raise BuildError("this VHDX does not name its disk")
