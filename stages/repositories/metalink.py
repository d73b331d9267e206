"""Metalinks (version 3.0, as MirrorManager writes them): the states of an RPM repository, and its mirrors.

What a server sends is read as untrusted data. What is written is for the package tool of one build: one state, and
the mirrors to take it from, so that no mirror in another state is believed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

LARGEST = 4 << 20  # bytes of a metalink
MOST = 64  # mirrors that are looked at, and earlier states
REPOMD = "repodata/repomd.xml"
_SPACE = "{http://www.metalinker.org/}"
_MM0 = "{http://fedorahosted.org/mirrormanager}"
_ADDRESS = re.compile(r"https?://[0-9A-Za-z._~:/?#\[\]!$&'()*+,;=%-]{1,2000}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class NoMirrorError(OSError):
    """No mirror of a repository can be taken, or none has a state to build from."""


@dataclass(frozen=True)
class NamedState:
    """A state of a repository that a metalink names: the SHA-256 of its index, its date in seconds since 1970 or 0."""

    digest: str
    date: int


@dataclass(frozen=True)
class Metalink:
    """What a metalink tells: the newest state and earlier ones, newest first, and the mirrors, best first.

    A mirror is the address of the folder that has ``repodata``.
    """

    states: tuple[NamedState, ...]
    mirrors: tuple[str, ...]


def parse(data: bytes, address: str) -> Metalink:
    """What the metalink that was read at ``address`` tells; raises OSError with a sentence for what is none."""
    if len(data) > LARGEST:
        raise OSError(f"the metalink is larger than {LARGEST} bytes")
    if re.search(rb"<!(DOCTYPE|ENTITY)", data, re.IGNORECASE) or b"\0" in data:
        raise OSError("the metalink has declarations of its own, which none needs")
    from xml.etree import ElementTree

    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise OSError(f"the metalink cannot be read: {error}") from error
    file = next((each for each in root.iter(f"{_SPACE}file") if each.get("name") == "repomd.xml"), None)
    if file is None:
        raise OSError("the metalink names no repomd.xml")
    earlier = file.findall(f"{_MM0}alternates/{_MM0}alternate")[:MOST]
    states = [_state(each) for each in (file, *earlier)]
    if states[0] is None:
        raise OSError("the metalink has no SHA-256 of the repository's index")
    unique = tuple(dict.fromkeys(state for state in states if state))
    return Metalink(unique, tuple(_mirrors(file, is_private(address))))


def _state(element: Element) -> NamedState | None:
    for each in element.findall(f"{_SPACE}verification/{_SPACE}hash"):
        text = (each.text or "").strip()
        if each.get("type") == "sha256" and _SHA256.match(text):
            date = (element.findtext(f"{_MM0}timestamp") or "").strip()
            return NamedState(text, int(date) if re.fullmatch("[0-9]{1,15}", date) else 0)
    return None


def _mirrors(file: Element, private: bool) -> list[str]:
    """The folders of a metalink's addresses: the most preferred first, and of one mirror's two ways that by https."""
    offered = []
    for each in file.iterfind(f"{_SPACE}resources/{_SPACE}url"):
        preference = each.get("preference", "")
        rank = int(preference) if re.fullmatch("[0-9]{1,4}", preference) else 0
        offered.append((-rank, (each.text or "").strip()))
    offered.sort(key=lambda pair: (pair[0], not pair[1].startswith("https:")))
    folders: dict[str, str] = {}
    for _, address in offered:
        if folder := folder_of(address, private=private):
            folders.setdefault(folder.partition("://")[2], folder)
    return list(folders.values())[:MOST]


def folder_of(index: str, *, private: bool) -> str:
    """The folder of a repository by the address of its ``repomd.xml``; "" where that is none to go to.

    Such an address is http's or https's, without user and password; one of this machine or of a private network is
    followed where ``private``: where its list came from such a network itself.
    """
    if not _ADDRESS.match(index) or not index.endswith(f"/{REPOMD}"):
        return ""
    try:
        parts = urlsplit(index)
        _ = parts.port
    except ValueError:
        return ""
    if not parts.hostname or "@" in parts.netloc or parts.query or parts.fragment:
        return ""
    if not private and is_private(index):
        return ""
    return index.removesuffix(f"/{REPOMD}")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def is_private(address: str) -> bool:
    """Does an address by its own words lead to this machine or a private network: a number of such, or localhost."""
    host = (urlsplit(address).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    import ipaddress  # builds without metalinks do without

    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return bool(re.fullmatch(r"[0-9.]+|0x[0-9a-f.x]+", host))  # other ways to write numbers, which some resolve


def write(digest: str, mirrors: Sequence[str]) -> str:
    """A metalink of one state, the SHA-256 of its ``repomd.xml``, and of the mirrors to take it from, best first."""
    urls = "".join(
        f'    <url protocol="{mirror.partition(":")[0]}" type="{mirror.partition(":")[0]}" preference="{rank}">'
        f"{_escaped(mirror)}/{REPOMD}</url>\n"
        for mirror, rank in zip(mirrors, range(100, 0, -1), strict=False)
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        '<metalink version="3.0" xmlns="http://www.metalinker.org/">\n'
        f' <files>\n  <file name="repomd.xml">\n   <verification><hash type="sha256">{digest}</hash></verification>\n'
        f'   <resources maxconnections="1">\n{urls}   </resources>\n  </file>\n </files>\n</metalink>\n'
    )
