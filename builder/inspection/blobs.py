"""The blobs of an image, from a layout's folder or from an archive; each is checked against its digest as it is read.

Everything here is a stream: a blob is an iterator over pieces of bytes, and nothing holds one whole.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from blockdev.core.beneath import parts_of
from blockdev.core.errors import BuildError, UsageError
from builder.inspection.limits import LARGEST_DOCUMENT
from builder.inspection.strict_tar import Strict

PIECE = 1 << 18  # bytes read at once
MOST_FILES = 100_000  # of an archive that holds an image
ALGORITHMS = {"sha256": 64, "sha384": 96, "sha512": 128}  # and how many hex digits each has
KINDS = "an image is an OCI layout (NAME.oci), an oci-archive or a docker-archive"
MOST_LINKS = 10  # on the way to a file of an archive
AGAIN = "it was damaged on its way or while it was written: copy or build it again"


@dataclass(frozen=True)
class Blob:
    """What a descriptor says of a blob: its name in its place, its digest ("" where nothing tells), bytes (or -1)."""

    name: str
    digest: str
    bytes: int = -1

    @classmethod
    def of(cls, descriptor: Any) -> Blob:
        """The blob of an OCI descriptor; ValueError or KeyError for a digest that is none."""
        digest = str(descriptor["digest"])
        algorithm, _, value = digest.partition(":")
        if len(value) != ALGORITHMS.get(algorithm) or set(value) - set("0123456789abcdef"):
            raise ValueError(f"{digest!r} is no digest")
        return cls(f"blobs/{algorithm}/{value}", digest, int(descriptor["size"]))


class BlobSource(Protocol):
    """Where the files of an image lie."""

    @property
    def path(self) -> Path:
        """The folder or the archive."""

    def has(self, name: str) -> bool:
        """Is there a plain file of this name."""

    def length(self, name: str) -> int:
        """How many bytes it has; BuildError where it is missing."""

    def opened(self, name: str) -> Iterator[bytes]:
        """What is in it, piece by piece; BuildError where it is missing or cannot be read."""


def missing(source: BlobSource, name: str) -> BuildError:
    """The error for a file that the image names and does not have."""
    return BuildError(f"{name} is missing from the image", where=str(source.path), hint=AGAIN)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BuildError(f"{path} cannot be read: {error.strerror or error}") from error


@dataclass(frozen=True)
class Folder:
    """The files of a layout's folder."""

    path: Path

    def has(self, name: str) -> bool:
        """Is there a plain file of this name, below the folder."""
        try:
            return self.path.joinpath(*parts_of(name)).is_file()
        except ValueError:
            return False

    def length(self, name: str) -> int:
        """How many bytes it has."""
        if not self.has(name):
            raise missing(self, name)
        return (self.path / name).stat().st_size

    def opened(self, name: str) -> Iterator[bytes]:
        """What is in it."""
        if not self.has(name):
            raise missing(self, name)
        with _readable(self.path / name), (self.path / name).open("rb") as file:
            while piece := file.read(PIECE):
                yield piece


@dataclass(frozen=True)
class Archive:
    """The files of a tar archive, by name; links in it (old docker archives have them) lead to the file meant."""

    path: Path
    members: dict[str, tuple[int, int]]  # where each begins, and its bytes

    @classmethod
    def read(cls, path: Path) -> Archive:
        """Find what is in the archive; UsageError for a file that is none."""
        members: dict[str, tuple[int, int]] = {}
        links: dict[str, str] = {}
        try:
            last = -1
            with _readable(path), tarfile.open(path, "r:", tarinfo=Strict) as tar:
                for member in tar:
                    if member.offset <= last or len(members) + len(links) > MOST_FILES:
                        raise tarfile.ReadError("it goes round in circles, or has too many files")
                    last = member.offset
                    name = posixpath.normpath(member.name)
                    if member.isfile():
                        members[name] = (member.offset_data, member.size)
                    elif member.issym():
                        links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
                    elif member.islnk():
                        links[name] = posixpath.normpath(member.linkname)
        except (tarfile.TarError, ValueError, OverflowError, LookupError, RecursionError) as error:
            raise _no_archive(path, begun=bool(members)) from error
        for name in links:
            target = name
            for _ in range(MOST_LINKS):
                target = links.get(target, target)
            if target in members:
                members[name] = members[target]
        return cls(path, members)

    def has(self, name: str) -> bool:
        """Is there a file of this name."""
        return name in self.members

    def length(self, name: str) -> int:
        """How many bytes it has."""
        if name not in self.members:
            raise missing(self, name)
        return self.members[name][1]

    def opened(self, name: str) -> Iterator[bytes]:
        """What is in it."""
        left = self.length(name)
        with _readable(self.path), self.path.open("rb") as file:
            file.seek(self.members[name][0])
            while left:
                piece = file.read(min(PIECE, left))
                if not piece:
                    raise BuildError(f"{name} ends too early: the archive is cut off", where=str(self.path), hint=AGAIN)
                left -= len(piece)
                yield piece


def _no_archive(path: Path, *, begun: bool) -> BuildError:
    if begun:
        return BuildError("the archive is cut off, or damaged", where=str(path), hint=AGAIN)
    what = f"{path} is no image"
    with _readable(path), path.open("rb") as file:
        start = file.read(6)
    if start[:2] == b"\x1f\x8b" or start[:4] == b"\x28\xb5\x2f\xfd" or start == b"\xfd7zXZ\0" or start[:3] == b"BZh":
        return UsageError(f"{what}: it is compressed", hint="take the compression away, and name the archive itself")
    return UsageError(f"{what}: it is neither a folder nor an archive", hint=KINDS)


def verified(source: BlobSource, blob: Blob) -> Iterator[bytes]:
    """The pieces of a blob; BuildError at the end of one that is not what its digest says, or has other bytes."""
    length = source.length(blob.name)
    if blob.bytes >= 0 and length != blob.bytes:
        what = f"the blob {blob.digest} has {length} bytes where {blob.bytes} are announced"
        raise BuildError(what, where=str(source.path), hint=AGAIN)
    if not blob.digest:
        yield from source.opened(blob.name)
        return
    digest = hashlib.new(blob.digest.partition(":")[0])
    for piece in source.opened(blob.name):
        digest.update(piece)
        yield piece
    if digest.hexdigest() != blob.digest.partition(":")[2]:
        what = f"the blob {blob.digest} is damaged: its content has the digest {digest.hexdigest()}"
        raise BuildError(what, where=str(source.path), hint=AGAIN)


def document(source: BlobSource, blob: Blob) -> dict[str, Any]:
    """A JSON document of the image; BuildError for one that is damaged or no JSON object."""
    return json_object(source, blob.name, _whole(source, blob))


def json_object(source: BlobSource, name: str, data: bytes) -> dict[str, Any]:
    """The JSON object that ``data`` is."""
    value = parsed(source, name, data)
    if not isinstance(value, dict):
        raise BuildError(f"{name} is no JSON object", where=str(source.path), hint=AGAIN)
    return value


def parsed(source: BlobSource, name: str, data: bytes) -> Any:
    """The JSON document that ``data`` is."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BuildError(f"{name} is no JSON: {error}", where=str(source.path), hint=AGAIN) from error


def _whole(source: BlobSource, blob: Blob) -> bytes:
    if source.length(blob.name) > LARGEST_DOCUMENT:
        what = f"{blob.name} is too large for a document: {source.length(blob.name)} bytes"
        raise BuildError(what, where=str(source.path))
    return b"".join(verified(source, blob))


def plain(source: BlobSource, name: str) -> bytes:
    """A small file of the image that no digest vouches for, whole."""
    return _whole(source, Blob(name, ""))
