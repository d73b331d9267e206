"""A cache service like GitHub's, over HTTP on loopback: its routes and answers as they are documented, kept in memory.

Twirp's JSON calls (CreateCacheEntry, FinalizeCacheEntryUpload, GetCacheEntryDownloadURL), and of Azure's storage Put
Blob, Put Block, Put Block List and Get Blob. What is there never changes; what was not finalized is not there.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.mirrors.serve import running

SERVICE = "/twirp/github.actions.results.api.v1.CacheService/"
TOKEN = "a-token"


@dataclass
class Held:
    """One entry: its key and version, what has been uploaded, and whether that is all."""

    key: str
    version: str
    data: bytes = b""
    blocks: dict[str, bytes] = field(default_factory=dict)
    whole: bool = False


@dataclass
class Service:
    """The service at ``address``; ``entries`` in the order in which they were made."""

    address: str
    entries: list[Held] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    failing: int = 0  # so many of the next calls get 503

    def call(self, method: str, asked: dict[str, Any]) -> dict[str, Any] | None:
        """What a call answers; None: what is to be made is there already."""
        key, version = asked["key"], asked["version"]
        if method == "CreateCacheEntry":
            return self.create(key, version)
        if method == "FinalizeCacheEntryUpload":
            return self.finalize(key, version, int(asked["size_bytes"]))
        return self.find(key, asked["restore_keys"], version)

    def create(self, key: str, version: str) -> dict[str, Any] | None:
        """None: it is there already."""
        if any((each.key, each.version) == (key, version) for each in self.entries):
            return None
        self.entries.append(Held(key, version))
        return {"ok": True, "signed_upload_url": f"{self.address}/blob/{len(self.entries) - 1}?sig=x"}

    def finalize(self, key: str, version: str, size: int) -> dict[str, Any]:
        """Only what has as many bytes as it should becomes whole."""
        for number, each in enumerate(self.entries):
            if (each.key, each.version, len(each.data)) == (key, version, size):
                each.whole = True
                return {"ok": True, "entry_id": str(number)}
        return {"ok": False}

    def find(self, key: str, prefixes: list[str], version: str) -> dict[str, Any]:
        """The entry of the key, else the newest of the first prefix that any has."""
        known = [(number, each) for number, each in enumerate(self.entries) if each.whole and each.version == version]
        for wanted in ([key], *([prefix] for prefix in prefixes)):
            for number, each in reversed(known):
                exact = wanted == [key] and each.key == key
                if exact or (wanted != [key] and each.key.startswith(wanted[0])):
                    url = f"{self.address}/blob/{number}?sig=x"
                    return {"ok": True, "signed_download_url": url, "matched_key": each.key}
        return {"ok": False}


@contextlib.contextmanager
def service() -> Iterator[Service]:
    """A service that runs while the context lasts."""

    found = Service("")

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, status: int, data: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def do_POST(self) -> None:
            data, method = self._body(), self.path.removeprefix(SERVICE)
            found.calls.append(method)
            if found.failing > 0:
                found.failing -= 1
                self._answer(503)
                return
            if self.headers.get("Authorization") != f"Bearer {TOKEN}" or not self.path.startswith(SERVICE):
                self._answer(401)
                return
            asked = json.loads(data)
            made = found.call(method, asked)
            if made is None:
                self._answer(409, json.dumps({"code": "already_exists", "msg": "cache entry already exists"}).encode())
            else:
                self._answer(200, json.dumps(made).encode())

        def _held(self) -> tuple[Held, dict[str, list[str]]]:
            place = urlsplit(self.path)
            return found.entries[int(place.path.rpartition("/")[2])], parse_qs(place.query)

        def do_PUT(self) -> None:
            data, (held, query) = self._body(), self._held()
            kind = query.get("comp", [""])[0]
            if kind == "block":
                held.blocks[query["blockid"][0]] = data
            elif kind == "blocklist":
                held.data = b"".join(held.blocks[name] for name in re.findall("<Latest>(.*?)</Latest>", data.decode()))
            elif self.headers.get("x-ms-blob-type") != "BlockBlob" or "Authorization" in self.headers:
                self._answer(400)
                return
            else:
                held.data = data
            self._answer(201)

        def do_GET(self) -> None:
            self._answer(200, self._held()[0].data)

    with running(Handler) as found.address:
        yield found
