"""LUKS headers: version 1 and 2 (LUKS On-Disk Format Specification 1.2.3 and LUKS2 1.1.2). Pure."""

from __future__ import annotations

import hashlib
import json
import struct
from typing import Any

from blockdev.inspect.bytes_view import View, text
from blockdev.inspect.model import Content

_FIRST, _SECOND = b"LUKS\xba\xbe", b"SKUL\xba\xbe"
_LENGTHS = tuple(1 << power for power in range(14, 23))  # bytes of a LUKS2 header with its JSON: 16 KiB to 4 MiB
_ACTIVE_SLOT = 0x00AC71F3


def read(view: View) -> Content | None:
    """A LUKS header, of a LUKS2 the second one where the first is damaged; None where there is none."""
    start = view.read(0, 8)
    if start[:6] == _FIRST and start[6:] == b"\0\x01":
        return _version1(view)
    if start[:6] == _FIRST and start[6:] == b"\0\x02":
        second = _version2(view, 0)
        if second.details.get("checksum_right"):
            return second
        return next((other for other in _others(view)), second)
    return next((other for other in _others(view)), None)


def _others(view: View) -> list[Content]:
    """The second headers that are sound, at the places where there may be one."""
    places = [offset for offset in _LENGTHS if view.read(offset, 8) == _SECOND + b"\0\x02"]
    headers = [_version2(view, offset) for offset in places]
    return [header for header in headers if header.details["checksum_right"]]


def _version1(view: View) -> Content:
    raw = view.read(0, 592)
    payload, key = struct.unpack_from(">II", raw, 104)
    slots = [struct.unpack_from(">I", raw, 208 + 48 * slot)[0] for slot in range(8)]
    return Content(
        kind="luks",
        uuid=text(raw[168:208]),
        details={
            "version": 1,
            "cipher": f"{text(raw[8:40])}-{text(raw[40:72])}",
            "hash": text(raw[72:104]),
            "key_bits": key * 8,
            "key_slots": slots.count(_ACTIVE_SLOT),
            "payload_offset": payload * 512,
        },
    )


def _version2(view: View, offset: int) -> Content:
    head = view.read(offset, 4096)
    (length,) = struct.unpack_from(">Q", head, 8)
    remarks = [] if offset == 0 else ["the first LUKS2 header is damaged: the second one was read"]
    sound, document = False, dict[str, Any]()
    if length in _LENGTHS:
        whole = bytearray(view.read(offset, length))
        expected = bytes(whole[448:512])
        whole[448:512] = bytes(64)
        try:
            digest = hashlib.new(text(head[72:104]) or "none", whole, usedforsecurity=False).digest()
            sound = expected[: len(digest)] == digest
            document = json.loads(bytes(whole[4096:]).partition(b"\0")[0])
        except (ValueError, TypeError, RecursionError):  # no such checksum, no JSON
            sound = False
    if not sound:
        remarks.append("the LUKS2 header is damaged: its checksum is wrong")
    return Content(
        kind="luks",
        label=text(head[24:72]),
        uuid=text(head[168:208]),
        details={"version": 2, "subsystem": text(head[208:256]), **_about(document), "checksum_right": sound},
        remarks=tuple(remarks),
    )


def _about(document: Any) -> dict[str, Any]:
    """Cipher, sector size, and how many keys, of the JSON part; nothing where it is not as it should be."""
    try:
        segments = document["segments"]
        segment = segments[min(segments)]
        slots = document["keyslots"].values()
        return {
            "cipher": str(segment["encryption"]),
            "sector_size": int(segment["sector_size"]),
            "payload_offset": int(segment["offset"]),
            "key_slots": len(slots),
            "key_derivation": sorted({str(slot["kdf"]["type"]) for slot in slots if "kdf" in slot}),
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
