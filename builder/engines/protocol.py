"""What every engine can do; all adapters pass the same contract tests (``tests/integration/test_engine_contract.py``).

An engine runs *build containers*: root inside is never root of the host, the store is one volume that outlives them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

STORE = "/store"  # where the store is mounted in every build container (the host engine: its own path, see Engine.store)


@dataclass(frozen=True)
class Container:
    """One build container to run.

    ``argv`` runs as root of a user namespace with CAP_SYS_ADMIN over it. ``image`` is a reference of a build image
    (ignored by the host engine). ``network`` False runs it without any network.
    """

    image: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    network: bool = True


class Engine(Protocol):
    """One way to run build containers. Methods raise ``stages.errors.BuildError`` with a hint."""

    name: str  # "podman", "docker", "podman-socket", "docker-socket", "host"
    store: str  # path of the store as the container sees it

    def probe(self) -> None:
        """Find the flags that work here by running a container for real, and remember them; raise where none do."""

    def has_image(self, reference: str) -> bool:
        """Is this build image there (the host engine: always)."""

    def build_image(self, folder: Path, file: str, reference: str, arguments: Mapping[str, str]) -> None:
        """Build ``folder``/``file`` (a Containerfile) as ``reference``; raises where the base cannot be pulled."""

    def import_image(self, archive: Path, reference: str) -> None:
        """Make an image of one root file system archive (tar)."""

    def load(self, archive: Path, reference: str) -> None:
        """Put a finished image (docker-archive) into the engine's own images under ``reference``."""

    def run(
        self, container: Container, request: bytes, on_line: Callable[[str, Callable[[str], None]], None]
    ) -> int:
        """Run to the end and return the exit status.

        The container finds ``request`` on its standard input, as one line with its length in bytes and then the bytes;
        standard input stays open until the end. Where an adapter cannot do that (the sockets) it puts the request at
        ``/request`` in the container and appends that path to ``argv``. ``on_line`` is called with each line of
        standard output and a function that sends a line to the container. KeyboardInterrupt and any exception of ``on_line``
        end the container before they go on; no container is left behind.
        """

    def interactive(self, container: Container) -> int:
        """Run on the caller's terminal and return the exit status."""

    def fetch(self, container: Container, path: str) -> Iterator[bytes]:
        """The folder ``path`` of the store as a tar stream (sparse, numeric owners); ``argv`` is ignored."""

    def remove_store(self) -> None:
        """Remove the store and all in it."""
