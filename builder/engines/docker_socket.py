"""docker by its API socket and SDK: for a job that has the socket mounted and no command."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.engines import leftovers
from builder.engines.protocol import STORE, EngineError, ImageMissing, store_volume
from builder.engines.socket_engine import LABELS, ContainerSpec, SocketEngine, first_socket

if TYPE_CHECKING:
    from docker import APIClient


class DockerSocket(SocketEngine):
    """The docker SDK."""

    name = "docker-socket"

    def __init__(self, address: str = "") -> None:
        super().__init__(address or first_socket("DOCKER_HOST", ("/var/run/docker.sock",)))
        self._client_made: APIClient | None = None

    @contextlib.contextmanager
    def _api(self, what: str) -> Iterator[Any]:  # its type information covers half of the calls
        from docker import APIClient
        from docker.errors import DockerException
        from requests.exceptions import RequestException

        if not self.address:
            raise EngineError(self.name, "there is no docker socket", "no socket", hint="set DOCKER_HOST")
        try:
            if self._client_made is None:
                self._client_made = APIClient(base_url=self.address, version="auto", timeout=600)
            yield self._client_made
        except (DockerException, RequestException) as error:
            raise EngineError(self.name, f"{what}: {error}", str(error)) from error

    def alive(self) -> None:
        """See SocketEngine."""
        with self._api("talk to the daemon") as api:
            api.ping()

    def architecture(self) -> str:
        """See SocketEngine."""
        with self._api("ask for the architecture") as api:
            return str(api.version()["Arch"])

    def has_image(self, reference: str) -> bool:
        """See Engine."""
        from docker.errors import ImageNotFound

        with self._api("look for an image") as api:
            try:
                api.inspect_image(reference)
            except ImageNotFound:
                return False
        return True

    def build_image(self, folder: Path, file: str, reference: str, arguments: Mapping[str, str]) -> None:
        """See Engine."""
        with self._api(f"build {reference}") as api:
            answer = api.build(
                path=str(folder),
                dockerfile=file,
                tag=reference,
                buildargs=dict(arguments),
                network_mode="host",
                rm=True,
                forcerm=True,
                decode=True,
            )
            for event in answer:
                if "error" in event:
                    raise EngineError(self.name, f"build {reference}: {event['error']}", str(event))

    def import_image(self, archive: Path, reference: str) -> None:
        """See Engine."""
        repository, _, tag = reference.rpartition(":")
        with self._api("import an image") as api:
            api.import_image(str(archive), repository=repository, tag=tag)

    def save_image(self, reference: str, archive: Path) -> None:
        """See Engine."""
        with self._api("save an image") as api, archive.open("wb") as out:
            out.writelines(api.get_image(reference))

    def remove_image(self, reference: str) -> None:
        """See Engine."""
        if self.has_image(reference):
            with self._api("remove an image") as api:
                api.remove_image(reference, force=True)

    def let_go_of_image(self, reference: str) -> bool:
        """See Engine."""
        try:
            if self.has_image(reference):
                with self._api("remove an image") as api:
                    api.remove_image(reference)
        except EngineError:
            return False
        return True

    def load(self, archive: Path, reference: str) -> None:
        """See Engine."""
        loaded = ""
        with self._api(f"load {archive.name}") as api, archive.open("rb") as data:
            for event in api.load_image(data):
                line = event.get("stream", "").strip() if isinstance(event, dict) else ""
                if line.startswith("Loaded image"):
                    loaded = line.partition(": ")[2]
            if not loaded:
                raise EngineError(self.name, f"load {archive.name}: no image in it", "")
            if loaded != reference:
                repository, _, tag = reference.rpartition(":")
                api.tag(loaded, repository, tag)

    def remove_store(self) -> None:
        """See Engine."""
        from docker.errors import NotFound

        leftovers.sweep(self._location(), self._removed)
        self.sweep(0)
        with self._api("remove the store") as api, contextlib.suppress(NotFound):
            api.remove_volume(store_volume())

    def create(self, spec: ContainerSpec) -> str:
        """See SocketEngine."""
        from docker.errors import ImageNotFound
        from docker.types import Ulimit

        with self._api("create a container") as api:
            host = api.create_host_config(
                binds=[f"{store_volume()}:{STORE}"],
                cap_drop=["ALL"],
                cap_add=list(spec.capabilities),
                network_mode=spec.network,
                security_opt=["seccomp=unconfined", "apparmor=unconfined"],
                ulimits=[Ulimit(name=name, soft=soft, hard=hard) for name, soft, hard in spec.limits],
            )
            # What the command line calls systempaths=unconfined.
            host.update(MaskedPaths=[], ReadonlyPaths=[])
            try:
                created: dict[str, Any] = api.create_container(
                    spec.image,
                    list(spec.command),
                    name=spec.name,
                    user=spec.user,
                    environment=dict(spec.environment),
                    labels=LABELS,
                    stdin_open=True,
                    tty=spec.terminal,
                    host_config=host,
                )
            except ImageNotFound as error:
                raise ImageMissing(spec.image) from error
        return str(created["Id"])

    def start(self, container: str) -> None:
        """See SocketEngine."""
        with self._api("start a container") as api:
            api.start(container)

    def resize(self, container: str, rows: int, columns: int) -> None:
        """See SocketEngine."""
        with self._api("resize a terminal") as api:
            api.resize(container, rows, columns)

    def wait(self, container: str) -> int:
        """See SocketEngine."""
        with self._api("wait for a container") as api:
            return int(api.wait(container)["StatusCode"])

    def remove(self, container: str) -> None:
        """See SocketEngine."""
        from docker.errors import NotFound

        with self._api("remove a container") as api, contextlib.suppress(NotFound):
            api.remove_container(container, force=True)

    def ended(self) -> list[tuple[str, float]]:
        """See SocketEngine."""
        with self._api("list containers") as api:
            listed = api.containers(all=True, quiet=True, filters={"label": list(LABELS), "status": "exited"})
            states = {item["Id"]: api.inspect_container(item["Id"])["State"] for item in listed}
        # Nanoseconds are more than fromisoformat reads; whole seconds are enough.
        return [
            (identity, datetime.fromisoformat(state["FinishedAt"][:19] + "+00:00").timestamp())
            for identity, state in states.items()
        ]

    def attach_path(self, container: str) -> str:
        """See SocketEngine."""
        return f"/v1.40/containers/{container}/attach?stream=1&stdin=1&stdout=1&stderr=1"
