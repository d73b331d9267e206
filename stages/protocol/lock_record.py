"""What a build used, exactly enough to build the same again: the part of a lock file that is of one architecture.

Plain data, read by the host (``builder.request.lock_file`` has the whole file) and by the build container alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from stages.protocol.locking import COMMIT
from stages.redaction.patterns import without_credentials

SHA256 = re.compile(r"[0-9a-f]{64}\Z")
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~:_-]*\Z")


@dataclass(frozen=True, order=True)
class UsedRepository:
    """A package repository: its signed index, that file's SHA-256, its date in seconds since 1970.

    ``lists`` are the uncompressed package lists that were used of it, as paths below the index's folder
    (``main/binary-amd64/Packages``).
    """

    index: str
    digest: str
    date: int
    lists: tuple[str, ...] = ()


@dataclass(frozen=True, order=True)
class UsedPackage:
    """A package that a stage installed: ``file`` is its path in the repository whose index is ``repository``.

    ``sha256``, ``file`` and ``repository`` are empty and ``bytes`` is 0 where it came from no list.
    """

    name: str
    version: str
    architecture: str
    sha256: str = ""
    bytes: int = 0
    file: str = ""
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

    epoch: int
    build_image: str
    mirrors: Mapping[str, str]
    repositories: tuple[UsedRepository, ...]
    packages: tuple[UsedPackage, ...]
    snapshot: str = ""
    sources: tuple[Mapping[str, str], ...] = ()
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
        given = _mapping(data, "an architecture")
        _only(given, (each.name for each in fields(cls)), "an architecture")
        mirrors = _mapping(given.get("mirrors"), "mirrors")
        return cls(
            epoch=_number(given, "epoch"),
            build_image=_text(given, "build_image"),
            mirrors={name: _text(mirrors, name) for name in mirrors},
            repositories=tuple(_repository(each) for each in _list(given, "repositories")),
            packages=_packages(_list(given, "packages")),
            snapshot=_text(given, "snapshot"),
            sources=tuple(_source(each) for each in _list(given, "sources")),
            base_images=tuple(_mapping(each, "a base image") for each in _list(given, "base_images")),
        )

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
        found = []
        for identity in sorted({*ours, *theirs}):
            name = str(UsedPackage(*identity))
            if identity not in ours:
                found.append(f"{name} is not in the lock")
            elif identity not in theirs:
                found.append(f"{name} was not installed")
            elif ours[identity] != theirs[identity]:
                found.append(f"{name} is another file than the lock's")
        return found


def _quoted(text: str, more: str) -> str:
    """A text as apt quotes it in the names of files."""
    return "".join(
        f"%{ord(char):02x}" if char in more or char == "%" or not 0x20 < ord(char) < 0x7F else char for char in text
    )


def _mapping(data: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(data, dict):
        raise ValueError(f"{what} is no mapping")
    return data


def _only(given: Mapping[str, Any], known: Iterable[str], what: str) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(f"{what} has the unknown field {unknown[0]!r}")


def _list(given: Mapping[str, Any], name: str) -> list[Any]:
    value = given.get(name)
    if not isinstance(value, list):
        raise ValueError(f"{name} is no list")
    return value


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")
    return value


def _number(given: Mapping[str, Any], name: str) -> int:
    value = given.get(name)
    if type(value) is not int or value < 0:
        raise ValueError(f"{name} is no number")
    return value


def _digest(given: Mapping[str, Any], name: str) -> str:
    value = _text(given, name)
    if not SHA256.match(value):
        raise ValueError(f"{name} {value!r} is no SHA-256")
    return value


def _inner_path(path: Any) -> str:
    if not isinstance(path, str) or path.startswith("/") or ".." in path.split("/"):
        raise ValueError(f"{path!r} is no path in a repository")
    return path


def _repository(data: Any) -> UsedRepository:
    given = _mapping(data, "a repository")
    _only(given, (each.name for each in fields(UsedRepository)), "a repository")
    lists = tuple(_inner_path(path) for path in _list(given, "lists"))
    return UsedRepository(_text(given, "index"), _digest(given, "digest"), _number(given, "date"), lists)


def _source(data: Any) -> Mapping[str, str]:
    given = _mapping(data, "a source")
    _only(given, ("name", "type", "location", "ref", "commit", "state"), "a source")
    known = [name for name in ("commit", "state") if name in given]
    if len(known) != 1 or (known == ["commit"] and not re.match(COMMIT, _text(given, "commit"))):
        raise ValueError("a source has neither commit nor state")
    return {name: _text(given, name) for name in ("name", "type", "location", "ref", *known)}


def _packages(data: Iterable[Any]) -> tuple[UsedPackage, ...]:
    found: dict[tuple[str, str, str], UsedPackage] = {}
    for package in map(_package, data):
        if package.identity in found:
            raise ValueError(f"{package} is there twice")
        found[package.identity] = package
    return tuple(found.values())


def _package(data: Any) -> UsedPackage:
    given = _mapping(data, "a package")
    _only(given, (each.name for each in fields(UsedPackage)), "a package")
    name, version, architecture = (_text(given, part) for part in ("name", "version", "architecture"))
    for value in (name, version, architecture):
        if not PLAIN_NAME.match(value):
            raise ValueError(f"{value!r} is no name, version or architecture of a package")
    sha256 = _digest(given, "sha256") if given.get("sha256") else ""
    path = _inner_path(_text(given, "file"))
    return UsedPackage(name, version, architecture, sha256, _number(given, "bytes"), path, _text(given, "repository"))
