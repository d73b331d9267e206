"""When an OpenPGP signature was made (RFC 9580, sections 4.2, 5.2.3 and 6.2), as the signature itself says it."""

from __future__ import annotations

import base64
import binascii
import re

_ARMOR = re.compile(
    rb"-----BEGIN PGP SIGNATURE-----\r?\n(?:[^\r\n]+\r?\n)*\r?\n"
    rb"([A-Za-z0-9+/=\s]+?)(?:\r?\n=[A-Za-z0-9+/]{4})?\s*-----END"
)
_SIGNATURE, _CREATION_TIME = 2, 2  # types of a packet and of a subpacket


def signature_time(data: bytes) -> int:
    """The time of the first signature in seconds since 1970; ``data`` may be armored, or a text signed in itself.

    0 where there is none, or it says none.
    """
    armored = _ARMOR.search(data)
    try:
        return _time(base64.b64decode(armored[1]) if armored else data)
    except (binascii.Error, IndexError):
        return 0


def _time(packet: bytes) -> int:
    tag = packet[0]
    if tag & 0xC0 == 0xC0:
        kind, (_, start) = tag & 0x3F, _length(packet, 1)
    else:
        kind, start = tag >> 2 & 0x0F, 1 + (1, 2, 4, 0)[tag & 3]
    if tag & 0x80 == 0 or kind != _SIGNATURE or packet[start] != 4:
        return 0
    at = start + 6  # after version, type, two algorithms, and the length of the subpackets that are signed, too
    end = at + int.from_bytes(packet[start + 4 : at])
    while at < end:
        length, at = _length(packet, at)
        if packet[at] & 0x7F == _CREATION_TIME and length == 5:
            return int.from_bytes(packet[at + 1 : at + 5])
        at += length
    return 0


def _length(data: bytes, at: int) -> tuple[int, int]:
    """A length as new packets and subpackets have it, and where what follows it begins."""
    first = data[at]
    if first < 192:
        return first, at + 1
    if first < 255:
        return (first - 192 << 8) + data[at + 1] + 192, at + 2
    return int.from_bytes(data[at + 1 : at + 5]), at + 5
