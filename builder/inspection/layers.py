"""The members of one layer's tar archive, in its order (OCI image specification, layer.md)."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from typing import IO

from blockdev.core.errors import BuildError
from builder.inspection.blobs import AGAIN, Blob, BlobSource, verified
from builder.inspection.decompress import Forward, unpacked
from builder.inspection.limits import Budget, limit_of_user
from builder.inspection.strict_tar import Strict
from stages.outputs.formats.tar_stream import XATTR

ENCODING = ("utf-8", "surrogateescape")
SECOND = 10**9  # nanoseconds
BUFFER = 1 << 16  # bytes
_TIME = re.compile(r"-?[0-9]{1,12}(\.[0-9]{0,30})?\Z")
_LATEST = 10**12  # seconds


@dataclass(frozen=True)
class Layer:
    """One layer of an image. ``diff_id`` is the digest of its tar archive, ``bytes`` those of the (compressed) blob."""

    number: int
    blob: Blob
    bytes: int
    media_type: str
    diff_id: str
    created_by: str


@dataclass
class Read:
    """What is known of a layer when all of it was read: the bytes of its tar archive."""

    bytes: int = 0


@dataclass(frozen=True)
class Member:
    """One member, and a file with its content (for a plain file) that is there until the next one is asked for."""

    info: tarfile.TarInfo
    content: IO[bytes] | None

    @property
    def mtime(self) -> int:
        """Nanoseconds since 1970."""
        text = self.info.pax_headers.get("mtime", "")
        if _TIME.match(text):
            return int(Decimal(text) * SECOND)
        return int(self.info.mtime) * SECOND if abs(self.info.mtime) < _LATEST else 0

    @property
    def xattrs(self) -> dict[str, bytes]:
        """Its extended attributes, sorted by name."""
        headers = self.info.pax_headers
        return {
            name.removeprefix(XATTR): headers[name].encode(*ENCODING)
            for name in sorted(headers)
            if name.startswith(XATTR)
        }


def members(
    source: BlobSource, layer: Layer, read: Read | None = None, budget: Budget | None = None
) -> Generator[Member]:
    """The members of the layer; what was read is checked against the blob's digest and the layer's diff_id.

    Who stops early checks nothing. Raises BuildError for a layer that is missing, damaged, no tar archive, or larger
    than the ``budget`` for its image (default: one of its own).
    """
    where = f"layer {layer.number + 1} of {source.path}"
    budget = budget or Budget(limit_of_user())
    with closing(Forward(_bounded(unpacked(verified(source, layer.blob), where), budget, where))) as stream:
        try:
            for member in _members(stream):
                budget.member(where)
                yield member
            stream.drain()
        except (tarfile.TarError, ValueError, OverflowError, LookupError, RecursionError) as error:
            stream.drain()  # the digest may tell why
            raise BuildError(f"a layer is no sound tar archive: {error}", where=where, hint=AGAIN) from error
        digest = f"sha256:{stream.digest.hexdigest()}"
        if layer.diff_id.startswith("sha256:") and digest != layer.diff_id:
            what = f"a layer is not the one of the image's configuration: {digest} instead of {layer.diff_id}"
            raise BuildError(what, where=where, hint=AGAIN)
        if read is not None:
            read.bytes = stream.bytes


def _bounded(source: Generator[bytes], budget: Budget, where: str) -> Generator[bytes]:
    with closing(source):
        yield from budget.pieces(source, where)


def _members(stream: Forward) -> Iterator[Member]:
    file = io.BufferedReader(stream, BUFFER)
    try:
        if not file.peek(1):  # no members at all, not even the zeros that end an archive
            return
        with tarfile.open(fileobj=file, mode="r:", tarinfo=Strict) as tar:
            while info := tar.next():
                yield Member(info, tar.extractfile(info) if info.isreg() else None)
                tar.members.clear()  # type: ignore[attr-defined]  # it would keep them all
    finally:
        file.detach()  # it would close the stream
