"""The images that are built side by side, as values, whoever tells of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from builder.request.options import BuildOptions
from builder.request.prepared_build import PreparedBuild

DEFAULT_MEMORY = 1024  # MiB


@dataclass(frozen=True)
class Retries:
    """How often a failed build is tried again, after which failures, and after how many seconds at first."""

    times: int = 0
    after: str = "network"
    wait: int = 10


@dataclass(frozen=True)
class Needs:
    """What a build takes of a machine: processors and memory in MiB."""

    cpus: int = 1
    memory: int = DEFAULT_MEMORY


@dataclass(frozen=True)
class ImageBuild:
    """One image that is to be built.

    ``key`` is its name in the file, ``where`` its place there. ``command`` is the one of ``dib-ctr`` that builds it:
    ``build`` with ``options``, diskimage-builder's with ``words``, which name ``dib_arch``. ``places`` has the places
    of values in the file by what a complaint about them would quote. ``environment`` comes on top.
    """

    name: str
    key: str
    where: str
    command: str = "build"
    options: BuildOptions = field(default_factory=BuildOptions)
    words: tuple[str, ...] = ()
    dib_arch: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    axes: Mapping[str, str] = field(default_factory=dict)
    retries: Retries = field(default_factory=Retries)
    needs: Needs = field(default_factory=Needs)
    places: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[Path, ...] = ()  # files and folders of this machine that it is made of

    @property
    def elements(self) -> tuple[str, ...]:
        """The elements that are asked for."""
        return self.options.elements

    @property
    def arches(self) -> tuple[str, ...]:
        """The architectures that are asked for."""
        return (self.dib_arch,) if self.dib_arch else self.options.arches

    @property
    def push(self) -> str:
        """Where it is pushed to ("": nowhere)."""
        return self.options.push.reference


@dataclass(frozen=True)
class PlannedBuild:
    """An image with its request for each of its architectures."""

    image: ImageBuild
    requests: tuple[PreparedBuild, ...]

    @property
    def prepared(self) -> PreparedBuild:
        """The request for the first architecture."""
        return self.requests[0]

    def by_name(self) -> dict[str, PreparedBuild]:
        """The requests by the image's name, with the architecture where there are several."""
        if len(self.requests) == 1:
            return {self.image.name: self.requests[0]}
        return {f"{self.image.name} ({prepared.request.arch})": prepared for prepared in self.requests}
