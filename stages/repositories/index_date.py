"""When a repository's index was made, as the index itself says it: the same on every mirror.

The kinds are told by the index's file name: ``InRelease`` and ``Release`` (Debian), ``repomd.xml`` (RPM), ``NAME.db``
(pacman), ``APKINDEX.tar.gz`` (apk), and Gentoo's: ``latest-stage3-*.txt``, ``Packages`` (its header), signatures.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import email.utils
import gzip
import io
import lzma
import re
import tarfile
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import urlsplit

# What a field of the index says of one package's build, in seconds since 1970: pacman's ``desc``, apk's ``APKINDEX``.
_BUILT = {
    ".db": (b"/desc", re.compile(rb"^%BUILDDATE%\n(\d+)$", re.MULTILINE)),
    ".gz": (b"APKINDEX", re.compile(rb"^t:(\d+)$", re.MULTILINE)),
}


def index_date(address: str, data: bytes) -> int:
    """The date of the index that was read at ``address``, in seconds since 1970; 0 where it says none."""
    name = urlsplit(address).path.rpartition("/")[2]
    if name == "repomd.xml":
        return _repomd(data)
    if name == "APKINDEX.tar.gz" or name.endswith(".db"):
        return _newest_package(name, data)
    if name == "Packages":
        timestamp = re.search(rb"^TIMESTAMP: (\d{1,15})$", data.partition(b"\n\n")[0], re.MULTILINE)
        return int(timestamp[1]) if timestamp else 0
    if name.endswith((".gpgsig", ".DIGESTS")):
        return signature_time(data)
    if name.endswith(".txt"):
        return _mail_date(re.search(rb"Latest as of (.+)$", data, re.MULTILINE))
    return _mail_date(re.search(rb"^Date: (.+)$", data, re.MULTILINE))


def _mail_date(match: re.Match[bytes] | None) -> int:
    """A date as RFC 5322 writes it."""
    if match is None:
        return 0
    try:
        return int(email.utils.parsedate_to_datetime(match[1].decode("ascii", "replace").strip()).timestamp())
    except ValueError:
        return 0


def _repomd(data: bytes) -> int:
    """The revision where it is a time, else the newest of the lists' times (createrepo_c, repomd.xml)."""
    revision = re.search(rb"<revision>\s*(\d{10})\s*</revision>", data)
    if revision:
        return int(revision[1])
    long = re.search(rb"<revision>\s*(20\d{12})\s*</revision>", data)  # openSUSE's: a date in digits
    if long:
        with contextlib.suppress(ValueError):
            return int(datetime.strptime(long[1].decode(), "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp())
    return max((int(time) for time in re.findall(rb"<timestamp>\s*(\d+)", data)), default=0)


def _newest_package(name: str, data: bytes) -> int:
    suffix, field = _BUILT[".db" if name.endswith(".db") else ".gz"]
    try:
        times = [int(time) for content in _members(data, suffix) for time in field.findall(content)]
    except (tarfile.TarError, lzma.LZMAError, gzip.BadGzipFile, EOFError, zlib.error):
        return 0
    return max(times, default=0)


def _members(data: bytes, suffix: bytes) -> Iterator[bytes]:
    """The content of the members whose name ends so; apk puts several archives one after another (``ignore_zeros``)."""
    with tarfile.open(fileobj=io.BytesIO(data), ignore_zeros=True) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.name.encode().endswith(suffix) else None
            if file is not None:
                yield file.read()


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
