"""What the engines on API sockets have in common: the life of a container, in the few calls that both SDKs have."""

from __future__ import annotations

import contextlib
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from builder.engines import leftovers, probe_container, process, rights, socket_attach
from builder.engines.command_engine import container_name, fetch_argv, last_line
from builder.engines.docker import BUILD_USER
from builder.engines.podman import limits
from builder.engines.protocol import PREFIX, STORE, Container, EngineError, ImageMissing, OnLine
from builder.engines.remote_address import check_architecture, check_socket
from builder.engines.user_namespace import enter
from builder.host_state import probe_results

LEFTOVER = 60.0  # seconds: nobody waits for a container that ended so long ago
LABELS = {f"{PREFIX}build": "1"}


@dataclass(frozen=True)
class ProbeResult:
    """What a probe found: may the container's root do the work itself; must limits be said outright."""

    direct: bool = False
    limited: bool = False


CHOICES = (ProbeResult(), ProbeResult(direct=True), ProbeResult(limited=True), ProbeResult(direct=True, limited=True))


@dataclass(frozen=True)
class ContainerSpec:
    """A container to create, in words that both SDKs have."""

    name: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    network: str
    user: str
    capabilities: tuple[str, ...]
    limits: tuple[tuple[str, int, int], ...]
    terminal: bool


class SocketEngine(ABC):
    """An engine driven over its API socket; subclasses translate to their SDK."""

    name = ""
    store = STORE

    def __init__(self, address: str) -> None:
        self.address = address
        self.probe_result = ProbeResult()

    # -- what subclasses translate; each raises EngineError ----------------------------------------------------------

    @abstractmethod
    def has_image(self, reference: str) -> bool:
        """See Engine."""

    @abstractmethod
    def build_image(self, folder: Path, file: str, reference: str, arguments: Mapping[str, str]) -> None:
        """See Engine."""

    @abstractmethod
    def import_image(self, archive: Path, reference: str) -> None:
        """See Engine."""

    @abstractmethod
    def save_image(self, reference: str, archive: Path) -> None:
        """See Engine."""

    def restore_image(self, archive: Path, reference: str) -> None:
        """See Engine."""
        self.load(archive, reference)

    @abstractmethod
    def remove_image(self, reference: str) -> None:
        """See Engine."""

    @abstractmethod
    def let_go_of_image(self, reference: str) -> bool:
        """See Engine."""

    @abstractmethod
    def load(self, archive: Path, reference: str) -> None:
        """See Engine."""

    @abstractmethod
    def remove_store(self) -> None:
        """See Engine."""

    @abstractmethod
    def create(self, spec: ContainerSpec) -> str:
        """Create a container and return its id; raises ImageMissing."""

    @abstractmethod
    def start(self, container: str) -> None:
        """Start it."""

    @abstractmethod
    def resize(self, container: str, rows: int, columns: int) -> None:
        """Tell its terminal the size."""

    @abstractmethod
    def wait(self, container: str) -> int:
        """Wait for its end and return the exit status."""

    @abstractmethod
    def remove(self, container: str) -> None:
        """Remove it, running or not; one that is gone is no error."""

    @abstractmethod
    def attach_path(self, container: str) -> str:
        """The API's path to attach at."""

    @abstractmethod
    def ended(self) -> list[tuple[str, float]]:
        """Build containers that have ended and are still there: id, and when they ended (seconds since 1970)."""

    @abstractmethod
    def architecture(self) -> str:
        """The architecture of the machine behind the socket, by any of its names."""

    @abstractmethod
    def alive(self) -> None:
        """Ask for a sign of life; raises EngineError."""

    # -- containers --------------------------------------------------------------------------------------------------

    def _spec(self, container: Container, *, terminal: bool = False) -> ContainerSpec:
        direct = self.probe_result.direct
        plain = (
            direct or container.image == probe_container.IMAGE
        )  # the trial image has no Python to enter a namespace with
        return ContainerSpec(
            container_name(),
            container.image,
            container.argv if plain else enter(container.argv),
            container.environment,
            "host" if container.network else "none",
            "0:0" if direct else BUILD_USER,
            rights.kept(mapped=direct),
            limits() if self.probe_result.limited else (),
            terminal,
        )

    @contextlib.contextmanager
    def _container(self, spec: ContainerSpec) -> Iterator[str]:
        """A created container, gone afterwards whatever happens to us, but for kill -9: the next one removes those.

        Those of clients whose notes are gone with them, as a job's in a container of its own, some time later.
        """
        self.sweep(LEFTOVER)
        with leftovers.container(self._location(), spec.name, self._removed):
            yield self.create(spec)

    def _location(self) -> str:
        return f"{self.name} {self.address}"

    def _removed(self, name: str) -> bool:
        try:
            self.remove(name)
        except EngineError:
            return False
        return True

    def sweep(self, age: float) -> None:
        """Remove build containers that ended more than ``age`` seconds ago."""
        for identity, end in self.ended():
            if end < time.time() - age:
                self.remove(identity)

    def run(self, container: Container, request: bytes, on_line: OnLine) -> int:
        """See Engine."""
        status, _ = self._run(self._spec(container), process.framed(request), on_line)
        return status

    def _run(self, spec: ContainerSpec, first: bytes, on_line: OnLine) -> tuple[int, str]:
        with (
            self._container(spec) as identity,
            socket_attach.attach(self.address, self.attach_path(identity)) as connection,
        ):
            self.start(identity)
            feeder = process.Feeder(connection.makefile("wb"))
            try:
                feeder.put(first)
                tail = self._read(socket_attach.frames(connection), on_line, feeder)
            finally:
                feeder.close()
            return self.wait(identity), tail

    @staticmethod
    def _read(frames: Iterator[tuple[int, bytes]], on_line: OnLine, feeder: process.Feeder) -> str:
        noise = process.Lines(process.LONGEST_NOISE, whole=False)
        streams = {socket_attach.OUTPUT: process.Lines(), socket_attach.ERRORS: noise}
        tail = ""

        def hand_on(number: int, data: bytes) -> None:
            nonlocal tail
            for line in streams[number].cut(data):
                if number == socket_attach.ERRORS:
                    tail = (tail + line + "\n")[-process.TAIL :]
                on_line(line, feeder.send if number == socket_attach.OUTPUT else None)

        for number, data in frames:
            if number in streams:
                hand_on(number, data)
        for number in streams:
            hand_on(number, b"")
        return tail

    def interactive(self, container: Container) -> int:
        """See Engine."""
        spec = self._spec(container, terminal=True)
        with (
            self._container(spec) as identity,
            socket_attach.attach(self.address, self.attach_path(identity)) as connection,
        ):
            self.start(identity)
            with contextlib.suppress(OSError, EngineError):
                self.resize(identity, *socket_attach.terminal_size())
            socket_attach.converse_on_terminal(connection)
            return self.wait(identity)

    def fetch(self, container: Container, path: str) -> Iterator[bytes]:
        """See Engine."""
        spec = self._spec(Container(container.image, fetch_argv(path), {}, network=False))
        errors = b""
        with (
            self._container(spec) as identity,
            socket_attach.attach(self.address, self.attach_path(identity)) as connection,
        ):
            self.start(identity)
            for number, data in socket_attach.frames(connection):
                if number == socket_attach.OUTPUT:
                    yield data
                else:
                    errors = (errors + data)[-process.TAIL :]
            status = self.wait(identity)
        if status != 0:
            text = errors.decode("utf-8", "replace")
            raise EngineError(self.name, f"cannot read {path}: {last_line(text)}", text)

    # -- probe -------------------------------------------------------------------------------------------------------

    def _stamp(self) -> str:
        return probe_results.stamp() + f" at={self.address}"

    def probe(self) -> None:
        """See Engine."""
        record = probe_results.recall(self.name, self._stamp())
        if record is not None:
            self.probe_result = ProbeResult(**record)
            return
        check_socket(self.name, self.address)
        self.alive()
        check_architecture(self.name, self.architecture())
        outputs: list[str] = []
        with probe_container.archive() as archive:
            self.import_image(archive, probe_container.IMAGE)
        try:
            for choice in CHOICES:
                self.probe_result = choice
                outputs.append(self._try())
                if probe_container.succeeded(self, outputs[-1]):
                    probe_results.remember(self.name, self._stamp(), asdict(choice))
                    return
        finally:
            probe_container.remove(self)
        raise EngineError(self.name, f"no container runs here: {last_line(outputs[0])}", "\n".join(outputs))

    def _try(self) -> str:
        """Run the trial container and return what it said."""
        lines: list[str] = []
        spec = self._spec(
            Container(probe_container.IMAGE, probe_container.namespaced(STORE, direct=self.probe_result.direct))
        )
        try:
            self._run(spec, b"", lambda line, _: lines.append(line))
        except ImageMissing:
            raise
        except EngineError as error:
            lines.append(error.text)
        return "\n".join(lines)


def first_socket(variable: str, usual: tuple[str, ...]) -> str:
    """The address that the variable gives, or the first usual socket that is there, or nothing."""
    address = os.environ.get(variable, "")
    if address:
        return address
    return next((f"unix://{path}" for path in usual if Path(path).is_socket()), "")
