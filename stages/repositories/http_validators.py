"""What a server says of a file: enough to tell whether it is still the one that was seen."""

from __future__ import annotations

import hashlib
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from stages.repositories.download import with_header

TIMEOUT = 60.0  # seconds, for one question


def seen(location: str, environment: Mapping[str, str]) -> str:
    """What the server says of a file without sending it; where it says nothing, the digest of its content.

    ``environment`` may have proxies. Raises OSError, and ValueError for what is no address.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(_proxies(location, environment)))
    if urlsplit(location).scheme in ("http", "https"):
        for method in ("HEAD", "GET"):
            try:
                with opener.open(_request(location, method), timeout=TIMEOUT) as answer:
                    validators = _validators(answer.headers)
            except urllib.error.HTTPError as error:
                if method == "GET" or error.code in (404, 410):
                    raise
                continue
            if validators:
                return validators
    address = f"file://{location}" if location.startswith("/") else location
    with opener.open(_request(address, "GET"), timeout=TIMEOUT) as answer:
        return _content(answer)


def _validators(headers: Any) -> str:
    values = {name: headers[name] for name in ("ETag", "Last-Modified") if headers.get(name)}
    if not values:
        return ""
    return "; ".join(
        f"{name}: {value}" for name, value in {**values, "Length": headers.get("Content-Length", "?")}.items()
    )


def _content(answer: Any) -> str:
    digest = hashlib.sha256()
    while piece := answer.read(1 << 20):
        digest.update(piece)
    return f"sha256:{digest.hexdigest()}"


def _proxies(location: str, environment: Mapping[str, str]) -> dict[str, str]:
    proxies: dict[str, str] = {}
    exempt = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    host = urlsplit(location).hostname or ""
    if any(name == "*" or f".{host}".endswith(f".{name.lstrip('.')}") for name in re.split(r"[\s,]+", exempt) if name):
        return proxies
    for scheme in ("http", "https", "ftp"):
        value = environment.get(f"{scheme}_proxy") or environment.get(f"{scheme.upper()}_PROXY")
        if value:
            proxies[scheme] = value
    return proxies


def _request(location: str, method: str) -> urllib.request.Request:
    """A question for a file; user and password of its address become a header, as downloaders send them."""
    headers = {"User-Agent": "dib-ctr", "Cache-Control": "no-cache", "Accept-Encoding": "identity"}
    plain, own = with_header(location)
    return urllib.request.Request(plain, headers={**headers, **own}, method=method)
