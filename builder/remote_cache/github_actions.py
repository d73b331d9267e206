"""A cache in GitHub's own for workflows: its cache service, version 2.

Protocol: Twirp with JSON at ``$ACTIONS_RESULTS_URL/twirp/github.actions.results.api.v1.CacheService``
(CreateCacheEntry, FinalizeCacheEntryUpload, GetCacheEntryDownloadURL; github.com/actions/toolkit, packages/cache), and
the blobs of Azure's storage at the addresses that it gives (Put Blob, with ``x-ms-blob-type: BlockBlob``; above a limit
Put Block and Put Block List). What is there never changes: so each index has a name of its own, and the newest whose
name begins right is the index. A workflow step that is no action must be given the two variables.
"""

from __future__ import annotations

import base64
import io
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

import requests
from requests.utils import get_environ_proxies

from blockdev.core.errors import BuildError, UsageError
from builder.registry.client import TransientError, with_retries
from builder.remote_cache.folder import PAUSES, PIECE, TIMEOUT, Change
from builder.remote_cache.index import IndexEntry, digest_of

SERVICE = "twirp/github.actions.results.api.v1.CacheService"
VERSION = digest_of(b"dib-ctr layer cache 1").removeprefix("sha256:")  # entries of another version are not seen
BLOCK = 32 << 20  # bytes that go in one request
WHERE = "GitHub's cache"
VARIABLES = ("ACTIONS_RESULTS_URL", "ACTIONS_RUNTIME_TOKEN")


class InActions:
    """See ``builder.remote_cache.folder.Place``."""

    def __init__(self, scope: str, environment: Mapping[str, str] = os.environ) -> None:
        for name in VARIABLES:
            if not environment.get(name):
                hint = "inside an action they are there; a `run:` step must be handed them"
                raise UsageError(f"type=gha takes the variable {name}, which is not set", hint=hint)
        self._base = environment[VARIABLES[0]].rstrip("/")
        self._token = environment[VARIABLES[1]]
        self._prefix = f"dib-ctr-index-{scope}-"

    # -- the service -----------------------------------------------------------------------------------------------

    def _call(self, method: str, **fields: Any) -> dict[str, Any]:
        """Ask the service; an empty answer where what is to be made is there already."""

        def ask() -> dict[str, Any]:
            headers = {"Authorization": f"Bearer {self._token}"}
            answer = self._send(
                "POST",
                f"{self._base}/{SERVICE}/{method}",
                json={**fields, "version": VERSION},
                headers=headers,
                allowed=(409,),
            )
            if answer.status_code == 409:
                return {}
            try:
                data = answer.json()
            except ValueError as error:
                raise TransientError(f"{WHERE} gives no answer that can be read", where=WHERE) from error
            return data if isinstance(data, dict) else {}

        return with_retries(ask, lambda _: None, PAUSES)

    @staticmethod
    def _send(method: str, url: str, *, allowed: tuple[int, ...] = (), **more: Any) -> requests.Response:
        session = requests.Session()
        session.trust_env = False  # no .netrc
        try:
            answer = session.request(method, url, timeout=TIMEOUT, proxies=get_environ_proxies(url), **more)
        except requests.RequestException as error:
            raise TransientError(f"{WHERE} does not answer: {type(error).__name__}", where=WHERE) from error
        if answer.status_code in (408, 429) or answer.status_code >= 500:
            raise TransientError(f"{WHERE} answers {answer.status_code}", where=WHERE)
        if not answer.ok and answer.status_code not in allowed:
            raise BuildError(f"{WHERE} answers {answer.status_code} {answer.reason}", where=WHERE)
        return answer

    def _address(self, key: str, prefixes: Sequence[str] = ()) -> str:
        """Where to fetch the entry of this key, or the newest whose key begins so; empty where there is none."""
        answer = self._call("GetCacheEntryDownloadURL", key=key, restore_keys=list(prefixes))
        return str(answer.get("signed_download_url", "")) if answer.get("ok") else ""

    def _put(self, key: str, size: int, data: IO[bytes]) -> bool:
        """Make an entry; False where there is one."""
        answer = self._call("CreateCacheEntry", key=key)
        if not answer.get("ok"):
            return False
        address = str(answer["signed_upload_url"])
        data.seek(0)
        if size <= BLOCK:
            self._upload(address, data.read(), {"x-ms-blob-type": "BlockBlob"})
        else:
            self._upload_blocks(address, data)
        self._call("FinalizeCacheEntryUpload", key=key, size_bytes=str(size))
        return True

    def _upload(self, address: str, data: bytes, headers: Mapping[str, str]) -> None:
        with_retries(lambda: self._send("PUT", address, data=data, headers=dict(headers)), lambda _: None, PAUSES)

    def _upload_blocks(self, address: str, data: IO[bytes]) -> None:
        names: list[str] = []
        while block := data.read(BLOCK):
            names.append(base64.b64encode(f"{len(names):08d}".encode()).decode())
            self._upload(f"{address}&comp=block&blockid={names[-1]}", block, {})
        listed = "".join(f"<Latest>{name}</Latest>" for name in names)
        text = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{listed}</BlockList>'
        self._upload(f"{address}&comp=blocklist", text.encode(), {"Content-Type": "application/xml"})

    # -- a place ---------------------------------------------------------------------------------------------------

    def index(self) -> bytes:
        """See Place."""
        address = self._address(f"{self._prefix}none", [self._prefix])
        if not address:
            return b""
        content: bytes = with_retries(lambda: self._send("GET", address), lambda _: None, PAUSES).content
        return content

    def blob(self, digest: str) -> Iterator[bytes]:
        """See Place."""
        address = self._address(_blob_key(digest))
        if not address:
            raise BuildError("a layer that the index lists has gone", where=WHERE)
        answer = self._send("GET", address, stream=True)
        try:
            yield from answer.iter_content(PIECE)
        except requests.RequestException as error:
            raise TransientError(f"{WHERE} broke off", where=WHERE) from error
        finally:
            answer.close()

    def put_blob(self, digest: str, size: int, data: IO[bytes]) -> None:
        """See Place."""
        self._put(_blob_key(digest), size, data)

    def put_entry(self, entry: IndexEntry) -> None:
        """Nothing: the index tells all of it."""

    def change_index(self, change: Change, added: Sequence[str]) -> None:
        """See Place. Of two who write at once the later one's index counts: the other's entries come with the next."""
        del added
        for attempt in range(3):
            changed = change(self.index())
            if changed is None:
                return
            name = f"{self._prefix}{time.time_ns() // 1000 + attempt:020d}"
            if self._put(name, len(changed), io.BytesIO(changed)):
                return
        raise TransientError("too many others write to it at the same time", where=WHERE)


def _blob_key(digest: str) -> str:
    return f"dib-ctr-blob-{digest.removeprefix('sha256:')}"
