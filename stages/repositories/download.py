"""One small file from a repository's server: how long it is waited for, how large it may be, and who sent it."""

from __future__ import annotations

import base64
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from blockdev.core.errors import UsageError

TIMEOUT = 30.0  # seconds
MIN_RATE = 1000.0  # bytes a second
PIECE = 1 << 16  # bytes
LARGEST = 1 << 28  # bytes of a signed index
_SCHEMES = ("http", "https", "ftp", "file")


class ProxyError(OSError):
    """The proxy that the environment names does not let a request through."""


@dataclass(frozen=True)
class Patience:
    """How long a mirror is waited for: ``timeout`` seconds for any sign of life, then for ``rate`` bytes a second."""

    timeout: float = TIMEOUT
    rate: float = MIN_RATE

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Patience:
        """That of ``DIB_MIRROR_TIMEOUT`` and ``DIB_MIRROR_MIN_RATE``; raises UsageError where one is no number."""
        values = {}
        for name, default in (("DIB_MIRROR_TIMEOUT", TIMEOUT), ("DIB_MIRROR_MIN_RATE", MIN_RATE)):
            text = environment.get(name) or f"{default:.0f}"
            if not re.fullmatch("[1-9][0-9]{0,8}", text):
                unit = "seconds" if name.endswith("TIMEOUT") else "bytes a second"
                raise UsageError(f"{name} is {text!r}", hint=f"give a whole number of {unit} above 0")
            values[name] = float(text)
        return cls(*values.values())


@dataclass(frozen=True)
class Answer:
    """What a server sent: the content, what the server calls it (its ETag), and the address that it came from at last.

    The latter is another one than was asked for where a server sends its callers on to others (a redirector).
    """

    data: bytes
    etag: str
    address: str


def with_header(address: str) -> tuple[str, dict[str, str]]:
    """An address without user and password, and the header that they become, as downloaders send them."""
    parts = urlsplit(address)
    if not parts.username:
        return address, {}
    user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    header = {"Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"}
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])), header


def open_address(address: str, timeout: float = TIMEOUT, **headers: str) -> Any:
    """An answer of a repository's server, to read from.

    Raises UsageError for an address that can be none, ProxyError where the proxy does not answer, other OSErrors.
    """
    plain, own = with_header(address)
    if urlsplit(plain).scheme not in _SCHEMES:
        hint = "begin it with http:// or https:// (DIB_DISTRIBUTION_MIRROR)"
        raise UsageError(f"{plain!r} is no address of a repository", hint=hint)
    asked = urllib.request.Request(plain, headers={"User-Agent": "dib-ctr", **own, **headers})
    try:
        return urllib.request.urlopen(asked, timeout=timeout)
    except urllib.error.HTTPError:
        raise
    except urllib.error.URLError as error:
        proxy = _proxy_of(plain)
        if not proxy:
            raise
        raise ProxyError(f"the proxy {proxy} does not answer: {error.reason}") from error


def _proxy_of(address: str) -> str:
    """The proxy that the environment names for an address, without what it says of its user; "" where there is none."""
    parts = urlsplit(address)
    proxy = urllib.request.getproxies().get(parts.scheme, "")
    if not proxy or urllib.request.proxy_bypass(parts.hostname or ""):
        return ""
    return with_header(proxy if "://" in proxy else f"http://{proxy}")[0]


def download(address: str, patience: Patience, largest: int = LARGEST, **headers: str) -> Answer:
    """What lies at an address, whole; raises OSError where it does not come, comes too slowly or is larger (bytes)."""
    started, data = time.monotonic(), bytearray()
    try:
        with open_address(address, patience.timeout, **headers) as answer:
            expected = answer.headers.get("Content-Length")
            while piece := answer.read1(PIECE):
                data += piece
                if len(data) > largest:
                    raise OSError(f"its answer is larger than {largest} bytes")
                waited = time.monotonic() - started
                if waited > patience.timeout and len(data) < waited * patience.rate:
                    raise OSError(f"it sends less than {patience.rate:.0f} bytes a second")
            result = Answer(bytes(data), answer.headers.get("ETag", ""), answer.geturl())
    except http.client.HTTPException as error:
        raise OSError(f"its answer is no whole one ({type(error).__name__})") from error
    if expected is not None and len(data) < int(expected):
        raise OSError(f"its answer ends after {len(data)} of {expected} bytes")
    if data.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        raise OSError("it answers with a web page")
    return result
