"""What the build container tells of a finished image: ``described.json``, which lies beside each artifact."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from blockdev.core.errors import BuildError
from blockdev.core.typed_json import read
from stages.tree.package_database import Package

WEB = re.compile(  # a URL of RFC 3986 that a browser could go to
    r"https?://[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+(?::[0-9]{1,5})?"
    r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*)?"
    r"(?:[?](?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?"
    r"(?:#(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?\Z"
)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class Repository:
    """The state of a package repository: its signed index, the SHA-256 of that (hex), its date (seconds)."""

    index: str
    digest: str
    date: int


@dataclass(frozen=True)
class Stage:
    """A stage that made the tree: its title (phase/element/script) and its key (hex)."""

    title: str
    key: str


@dataclass(frozen=True)
class Described:
    """An image as its build container describes it.

    ``arch`` is Debian's name of the architecture, ``epoch`` SOURCE_DATE_EPOCH in seconds, ``variables`` what the
    elements saw, ``compression`` how the layers were compressed and by which version.
    """

    name: str
    arch: str
    epoch: int
    asked: tuple[str, ...]
    elements: tuple[str, ...]
    os_release: Mapping[str, str]
    packages: tuple[Package, ...]
    repositories: tuple[Repository, ...]
    stages: tuple[Stage, ...]
    variables: Mapping[str, str]
    compression: str

    @property
    def created(self) -> str:
        """The image's date by RFC 3339."""
        return rfc3339(self.epoch)

    @classmethod
    def from_json(cls, text: str | bytes) -> Described:
        """Read ``described.json``; raises BuildError for a text that is none."""
        try:
            return read(cls, json.loads(text))
        except ValueError as error:
            what = f"the description of the image cannot be read: {error}"
            raise BuildError(what, hint="build again with --no-cache, so that it is written anew") from error


def homepage(package: Package) -> str:
    """The package's home page; empty where what its database has is no URL of the web."""
    return package.homepage if WEB.match(package.homepage) else ""


def rfc3339(seconds: int) -> str:
    """A time in seconds since the epoch as ``YYYY-MM-DDThh:mm:ssZ``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def hex_of(digest: str) -> str:
    """The hex part of ``sha256:<hex>``; ValueError for anything else."""
    if not DIGEST.match(digest):
        raise ValueError(f"{digest!r} is no sha256 digest")
    return digest.removeprefix("sha256:")
