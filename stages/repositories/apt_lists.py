"""apt's package lists: how their files are named, what a signed index says of them, and a quick look into them."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

QUOTED = frozenset('\\|{}[]<>"^~_=!@#$%^&*')
HASHES = re.compile(rb"^SHA256: *\n((?: .*\n?)+)", re.MULTILINE)
NAME = re.compile(rb"\nPackage: ([^\n]+)")  # begins with plain text: a pattern with ^ takes ten times as long

Identity = tuple[str, str, str]  # name, version, architecture


def list_name(url: str) -> str:
    """The file name under which apt keeps what it fetched from ``url`` (``var/lib/apt/lists``)."""
    address = url.partition("://")[2] or url.partition(":")[2]
    host, slash, path = address.partition("/")
    plain = host.rpartition("@")[2] + slash + path
    return "".join(
        f"%{ord(char):02x}" if char in QUOTED or not 0x20 < ord(char) < 0x7F else char for char in plain
    ).replace("/", "_")


def folder_of(index: str) -> str:
    """The folder of a signed index: what its entries are relative to."""
    return index.rpartition("/")[0]


def archive_of(index: str) -> str:
    """What the file names in a repository's package lists are relative to (sources.list(5): flat or with ``dists``)."""
    match = re.match(r"(.+)/dists/.+/[^/]+\Z", index)
    return match[1] if match else folder_of(index)


def hashes(signed_index: bytes) -> dict[str, tuple[str, int]]:
    """The SHA-256 and length of every file that a signed index lists, by path below the index's folder."""
    sums = {}
    section = HASHES.search(signed_index)
    for line in section[1].splitlines() if section else ():
        words = line.decode("utf-8", "replace").split()
        if len(words) == 3 and words[1].isdecimal():
            sums[words[2]] = (words[0], int(words[1]))
    return sums


def look_up(file: Path, asked: Iterable[Identity]) -> dict[Identity, Mapping[str, str]]:
    """The fields of the wanted packages in a list; a list of 60 MB takes about a tenth of a second."""
    by_name: dict[bytes, set[Identity]] = {}
    for identity in asked:
        by_name.setdefault(identity[0].encode(), set()).add(identity)
    packages: dict[Identity, Mapping[str, str]] = {}
    if not by_name or file.stat().st_size == 0:
        return packages
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for at, name in _names(data):
            identities = by_name.get(name)
            if identities:
                fields = _fields(data, at)
                identity = (fields.get("Package", ""), fields.get("Version", ""), fields.get("Architecture", ""))
                if identity in identities:
                    packages.setdefault(identity, fields)
    return packages


def _names(data: mmap.mmap) -> Iterator[tuple[int, bytes]]:
    """Where each ``Package`` field begins, and its value."""
    if data[:9] == b"Package: ":
        yield 0, data[9 : data.find(b"\n")]
    yield from ((match.start() + 1, match[1]) for match in NAME.finditer(data))


def _fields(data: mmap.mmap, at: int) -> dict[str, str]:
    """The one-line fields of the stanza around a position."""
    start = data.rfind(b"\n\n", 0, at) + 1
    end = data.find(b"\n\n", at)
    return dict(_field_lines(data[start : end if end >= 0 else len(data)].decode("utf-8", "replace")))


def _field_lines(stanza: str) -> Iterator[tuple[str, str]]:
    for line in stanza.splitlines():
        if line and not line[0].isspace():
            name, _, value = line.partition(":")
            yield name, value.strip()
