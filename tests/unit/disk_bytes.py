"""Partition tables and EFI programs made by hand, for the tests of `disk inspect`."""

from __future__ import annotations

import struct
import uuid
import zlib
from collections.abc import Mapping, Sequence

LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"
PREP = "9E1A2D38-C612-4316-AA26-8B49521E5A8B"
DISK = "11111111-2222-4333-8444-555555555555"


def entry(kind: int, start: int, count: int, active: int = 0) -> bytes:
    """An entry of a boot record; places in sectors."""
    return struct.pack("<B3xB3xII", active, kind, start, count)


def record(*entries: bytes, code: bytes = b"", identifier: int = 0x12345678) -> bytes:
    """A boot record of 512 bytes."""
    head = code.ljust(440, b"\0") + struct.pack("<I2x", identifier)
    return head + b"".join(entries).ljust(64, b"\0") + b"\x55\xaa"


def disk(size: int, *pieces: tuple[int, bytes]) -> bytes:
    """A disk of ``size`` bytes with bytes at places."""
    made = bytearray(size)
    for place, content in pieces:
        made[place : place + len(content)] = content
    return bytes(made)


def gpt_entry(kind: str, start: int, last: int, name: str = "", flags: int = 0, number: int = 1) -> bytes:
    own = uuid.UUID(int=number)
    head = uuid.UUID(kind).bytes_le + own.bytes_le + struct.pack("<QQQ", start, last, flags)
    return head + name.encode("utf-16-le").ljust(72, b"\0")


def header(mine: int, other: int, array: int, content: bytes, last: int, first: int = 34) -> bytes:
    """A GPT header whose checksums are right."""
    fields = (0x10000, 92, 0, 0, mine, other, first, last, uuid.UUID(DISK).bytes_le, array, len(content) // 128, 128)
    raw = struct.pack("<8sIIII4Q16sQIII", b"EFI PART", *fields, zlib.crc32(content))
    return raw[:16] + struct.pack("<I", zlib.crc32(raw)) + raw[20:]


def gpt(sectors: int, *entries: bytes, sector: int = 512, protective: bytes | None = None) -> bytes:
    """A disk with a GPT and nothing else."""
    array = b"".join(entries).ljust(128 * 128, b"\0")
    long = -(-len(array) // sector)
    end = sectors - 1
    first, last = 2 + long, end - long - 1
    mbr = record(entry(0xEE, 1, end), identifier=0) if protective is None else protective
    return disk(
        sectors * sector,
        (0, mbr),
        (sector, header(1, end, 2, array, last, first)),
        (2 * sector, array),
        (end * sector, header(end, 1, end - long, array, last, first)),
        ((end - long) * sector, array),
    )


def program(machine: int, sections: Mapping[str, bytes] | None = None, *, signed: bool = False) -> bytes:
    """A PE32+ file of headers and sections."""
    parts: Sequence[tuple[str, bytes]] = list((sections or {}).items())
    optional = struct.pack("<H106xI", 0x20B, 16) + bytes(128)
    place = 64 + 24 + len(optional) + 40 * len(parts)
    table, content = b"", b""
    for name, data in parts:
        table += struct.pack("<8sIIII16x", name.encode(), len(data), 0, len(data), place + len(content))
        content += data
    if signed:
        entry_of_signatures = struct.pack("<II", place + len(content), 1024)
        optional = optional[: 112 + 32] + entry_of_signatures + optional[112 + 40 :]
        content += bytes(1024)
    head = struct.pack("<4sHHIIIHH", b"PE\0\0", machine, len(parts), 0, 0, 0, len(optional), 0)
    return b"MZ".ljust(60, b"\0") + struct.pack("<I", 64) + head + optional + table + content
