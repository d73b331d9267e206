"""What a build used, exactly enough to build the same again: the part of a lock file that is of one architecture.

Plain data, read by the host (``builder.request.lock_file`` has the whole file) and by the build container alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

from blockdev.core.typed_json import many, reader, record
from stages.protocol.locking import COMMIT
from stages.redaction.patterns import without_credentials

SHA256 = re.compile(r"[0-9a-f]{64}\Z")
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~:_-]*\Z")
_SOURCE = {"name", "type", "location", "ref"}  # and one of these two:
_STATES = {"commit", "state"}


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("is no number")
    return value


def _digest(value: Any) -> str:
    if not isinstance(value, str) or not SHA256.match(value):
        raise ValueError(f"{value!r} is no SHA-256")
    return value


def _maybe_digest(value: Any) -> str:
    return "" if value == "" else _digest(value)


def _plain_name(value: Any) -> str:
    if not isinstance(value, str) or not PLAIN_NAME.match(value):
        raise ValueError(f"{value!r} is no name, version or architecture of a package")
    return value


def _inner_path(value: Any) -> str:
    if not isinstance(value, str) or value.startswith("/") or ".." in value.split("/"):
        raise ValueError(f"{value!r} is no path in a repository")
    return value


def _source(value: Any) -> Mapping[str, str]:
    source: Mapping[str, str] = reader(Mapping[str, str])(value)
    if unknown := sorted(source.keys() - _SOURCE - _STATES):
        raise ValueError(f"a source has the unknown field {unknown[0]!r}")
    if lacking := sorted(_SOURCE - source.keys()):
        raise ValueError(f"{lacking[0]} is missing")
    states = source.keys() & _STATES
    if len(states) != 1 or ("commit" in states and not re.match(COMMIT, source["commit"])):
        raise ValueError("a source has neither commit nor state")
    return source


def _packages(value: Any) -> tuple[UsedPackage, ...]:
    packages: tuple[UsedPackage, ...] = many(record(UsedPackage, "a package", whole=True))(value)
    seen = set()
    for package in packages:
        if package.identity in seen:
            raise ValueError(f"{package} is there twice")
        seen.add(package.identity)
    return packages


@dataclass(frozen=True, order=True)
class UsedRepository:
    """A package repository: its signed index, that file's SHA-256, its date in seconds since 1970.

    ``lists`` are the uncompressed package lists that were used of it, as paths below the index's folder
    (``main/binary-amd64/Packages``).
    """

    index: str
    digest: Annotated[str, _digest]
    date: Annotated[int, _count]
    lists: Annotated[tuple[str, ...], many(_inner_path)] = ()


@dataclass(frozen=True, order=True)
class UsedPackage:
    """A package that a stage installed: ``file`` is its path in the repository whose index is ``repository``.

    ``sha256``, ``file`` and ``repository`` are empty and ``bytes`` is 0 where it came from no list.
    """

    name: Annotated[str, _plain_name]
    version: Annotated[str, _plain_name]
    architecture: Annotated[str, _plain_name]
    sha256: Annotated[str, _maybe_digest] = ""
    bytes: Annotated[int, _count] = 0
    file: Annotated[str, _inner_path] = ""
    repository: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.architecture})"

    @property
    def identity(self) -> tuple[str, str, str]:
        """What makes it this package: name, version, architecture."""
        return self.name, self.version, self.architecture

    @property
    def cached(self) -> str:
        """The name that apt gives the file in its cache."""
        name, version = (_quoted(text, "_:") for text in (self.name, self.version))
        return f"{name}_{version}_{_quoted(self.architecture, '_:.')}.deb"


@dataclass(frozen=True)
class Used:
    """Everything that a build of one architecture used.

    ``epoch`` is SOURCE_DATE_EPOCH in seconds. ``mirrors`` are the variables of the machine's own mirrors that the
    elements saw. ``snapshot`` is the time stamp of the snapshot that the packages came from, if they did.
    ``build_image`` is the digest of the build image. ``sources`` are the commits of source repositories,
    ``base_images`` the digests of images that a tree began with.
    """

    epoch: Annotated[int, _count]
    build_image: str
    mirrors: Mapping[str, str]
    repositories: Annotated[tuple[UsedRepository, ...], many(record(UsedRepository, "a repository", whole=True))]
    packages: Annotated[tuple[UsedPackage, ...], _packages]
    snapshot: str = ""
    sources: Annotated[tuple[Mapping[str, str], ...], many(_source)] = ()
    base_images: tuple[Mapping[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The document, with every list in its fixed order."""
        return {
            **asdict(self),
            "repositories": [
                {**asdict(each), "lists": list(each.lists)}
                for each in sorted(replace(each, lists=tuple(sorted(each.lists))) for each in self.repositories)
            ],
            "packages": [asdict(each) for each in sorted(self.packages)],
            "sources": [dict(each) for each in self.sources],
            "base_images": [dict(each) for each in self.base_images],
        }

    @classmethod
    def from_json(cls, data: Any) -> Used:
        """Read what :meth:`to_json` gave; raises ValueError saying what is wrong with anything else."""
        used: Used = record(cls, "an architecture", whole=True)(data)
        return used

    def without_credentials(self) -> Used:
        """The same, without users and passwords in its addresses: a lock goes to others."""
        return replace(
            self,
            mirrors={name: without_credentials(address) for name, address in self.mirrors.items()},
            repositories=tuple(replace(each, index=without_credentials(each.index)) for each in self.repositories),
            packages=tuple(replace(each, repository=without_credentials(each.repository)) for each in self.packages),
        )

    def differences(self, installed: Iterable[UsedPackage]) -> list[str]:
        """What packages a build installed otherwise than this says, one phrase each, sorted."""
        ours = {package.identity: package.sha256 for package in self.packages}
        theirs = {package.identity: package.sha256 for package in installed}
        phrases = []
        for identity in sorted({*ours, *theirs}):
            name = str(UsedPackage(*identity))
            if identity not in ours:
                phrases.append(f"{name} is not in the lock")
            elif identity not in theirs:
                phrases.append(f"{name} was not installed")
            elif ours[identity] != theirs[identity]:
                phrases.append(f"{name} is another file than the lock's")
        return phrases


def _quoted(text: str, more: str) -> str:
    """A text as apt quotes it in the names of files."""
    return "".join(
        f"%{ord(char):02x}" if char in more or char == "%" or not 0x20 < ord(char) < 0x7F else char for char in text
    )
