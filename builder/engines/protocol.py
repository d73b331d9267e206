"""What every engine can do; all adapters pass the same contract tests (``tests/integration/test_engine_runs.py``,
``test_engine_containers.py`` and ``test_engine_images.py``).

An engine runs *build containers*: root inside is never root of the host, the store is one volume that outlives them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from blockdev.core.errors import BuildError

STORE = "/store"  # where the store is mounted in every build container; the host engine has its own path (Engine.store)
PREFIX = "dib-ctr-"  # how the name of every container begins


def store_volume() -> str:
    """The volume that holds the store: $DIB_CTR_STORE where that is a name (a folder is for the host engine)."""
    setting = os.environ.get("DIB_CTR_STORE", "")
    return setting if setting and "/" not in setting else f"{PREFIX}store"


Send = Callable[[str], None]
OnLine = Callable[[str, Send | None], None]  # without Send: a line of standard error


class ImageMissing(BuildError):  # noqa: N818 - it is a state, not a fault
    """The build image is not there: make it (``builder.build_image.ensure.ensure``) and run again."""

    def __init__(self, reference: str) -> None:
        super().__init__(f"the build image {reference} is not there", hint="run the command again: it makes the image")
        self.reference = reference


class EngineError(BuildError):
    """An engine did not do what it was asked; ``text`` is what it said, ``hint`` the command that mends it."""

    def __init__(self, engine: str, what: str, text: str, *, hint: str = "") -> None:
        hint = hint or "`dib-ctr doctor` tries each engine and says more"
        super().__init__(what, where=f"engine {engine}", hint=hint)
        self.text = text


class StoreError(EngineError):
    """The disk that holds an engine's store is what fails; another engine would only hide it behind another store."""

    def __init__(self, engine: str, what: str, text: str) -> None:
        hint = "look at the disk that holds the store, or put the store elsewhere (--store, DIB_CTR_STORE)"
        super().__init__(engine, what, text, hint=hint)


@dataclass(frozen=True)
class Container:
    """One build container to run.

    ``argv`` runs as root of a user namespace, with the capabilities of ``builder.engines.rights`` over it. ``image`` is
    a reference of a build image (ignored by the host engine). ``network`` False runs it without any network.
    ``privileged`` makes its root the host's own, with loop devices: for the block-device stage alone, where nothing
    else will do; ``device_mapper`` adds the machine's other block devices, for volumes that only the kernel can make.
    """

    image: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    network: bool = True
    privileged: bool = False
    device_mapper: bool = False


class Engine(Protocol):
    """One way to run build containers. Methods raise ``blockdev.core.errors.BuildError`` with a hint."""

    name: str  # "podman", "docker", "podman-socket", "docker-socket", "host"
    store: str  # path of the store as the container sees it

    def probe(self) -> None:
        """Find the flags that work here by running a container for real, and remember them; raise where none do.

        Where they are remembered from an earlier time (same user, kernel, engine, configuration) nothing is run.
        """

    def has_image(self, reference: str) -> bool:
        """Is this build image there (the host engine: always)."""

    def build_image(self, folder: Path, file: str, reference: str, arguments: Mapping[str, str]) -> None:
        """Build ``folder``/``file`` (a Containerfile) as ``reference``; raises where the base cannot be pulled.

        The argument ``BASE`` names the base.
        """

    def import_image(self, archive: Path, reference: str) -> None:
        """Make an image of one root file system archive (tar)."""

    def save_image(self, reference: str, archive: Path) -> None:
        """Write a build image to a file (docker-archive)."""

    def restore_image(self, archive: Path, reference: str) -> None:
        """Have the build image that such a file has; whichever engine wrote it."""

    def remove_image(self, reference: str) -> None:
        """Remove a build image; one that is not there is no error."""

    def let_go_of_image(self, reference: str) -> bool:
        """Remove a build image unless a container has it; tells whether it is gone."""

    def load(self, archive: Path, reference: str) -> None:
        """Put a finished image (docker-archive) into the engine's own images under ``reference``."""

    def run(self, container: Container, request: bytes, on_line: OnLine) -> int:
        """Run to the end and return the exit status.

        The container finds ``request`` on its standard input, as one line with its length in bytes and then the bytes;
        standard input stays open until the end. ``on_line`` is called, always in the calling thread, with each line of
        standard output and a function that sends a line to the container, and with each line of standard error (the
        container's and the engine's; these are no events) and None. KeyboardInterrupt and any exception of ``on_line``
        end the container before they go on; no container is left behind. Raises ImageMissing.
        """

    def interactive(self, container: Container) -> int:
        """Run on the caller's terminal and return the exit status."""

    def fetch(self, container: Container, path: str) -> Iterator[bytes]:
        """The folder ``path`` of the store as a tar stream (sparse, numeric owners); ``argv`` is ignored."""

    def remove_store(self) -> None:
        """Remove the store and all in it."""
