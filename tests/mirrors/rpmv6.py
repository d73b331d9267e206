"""Packages with RPM v6 signatures, by the format that rpm documents (docs/manual/format_v6.md of rpm 6)."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

_LEAD = 96  # bytes
_SIGNATURE_TAGS = (267, 268, 1000, 1002, 1004, 1005, 1007, 1008)  # of v3 and v4: signatures, sizes, MD5, a reservation
_OPENPGP, _STRINGS = 278, 8
_MOVED = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1}  # bytes of one value, by type


def sign_as_v6(package: Path, *, beside: bool = False) -> None:
    """Turn a package's v4 signature into one of v6, which is of the same bytes; ``beside`` leaves that of v4, too."""
    query = ["rpm", "-qp", "--nosignature", "--queryformat", "%{RSAHEADER:base64}", str(package)]
    signature = "".join(subprocess.run(query, check=True, capture_output=True, text=True).stdout.split())
    data = package.read_bytes()
    entries, size = struct.unpack(">II", data[_LEAD + 8 : _LEAD + 16])
    index_end = _LEAD + 16 + 16 * entries
    store = data[index_end : index_end + size]
    kept: list[tuple[int, int, int, bytes]] = []
    for number in range(1, entries):  # the first one is the region
        place = _LEAD + 16 + 16 * number
        tag, kind, offset, count = struct.unpack(">IIII", data[place : place + 16])
        if not beside and tag in _SIGNATURE_TAGS:
            continue
        end = offset + _MOVED[kind] * count if kind in _MOVED else store.index(b"\0", offset) + 1
        kept.append((tag, kind, count, store[offset:end]))
    kept.append((_OPENPGP, _STRINGS, 1, signature.encode() + b"\0"))
    index, values = b"", b""
    for tag, kind, count, value in sorted(kept):
        values += bytes(-len(values) % _MOVED.get(kind, 1))
        index += struct.pack(">IIII", tag, kind, len(values), count)
        values += value
    number = len(kept) + 1
    region = struct.pack(">IIII", 62, 7, len(values), 16)
    values += struct.pack(">IIiI", 62, 7, -16 * number, 16)
    header = data[_LEAD : _LEAD + 8] + struct.pack(">II", number, len(values)) + region + index + values
    rest = data[index_end + size + -(index_end + size) % 8 :]
    package.unlink()  # it may be a link
    package.write_bytes(data[:_LEAD] + header + bytes(-len(header) % 8) + rest)
