"""podman by its API socket (``podman system service``) and SDK."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.engines import leftovers
from builder.engines.command_engine import NO_IMAGE
from builder.engines.docker import BUILD_USER
from builder.engines.protocol import STORE, EngineError, ImageMissing, store_volume
from builder.engines.socket_engine import LABELS, ContainerSpec, SocketEngine, first_socket
from builder.engines.subordinate_ids import FIRST

if TYPE_CHECKING:
    from podman import PodmanClient

API = "/v4.0.0/libpod"


def usual_sockets() -> tuple[str, ...]:
    """Where podman's service listens: the user's, then the machine's."""
    run = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return (f"{run}/podman/podman.sock", "/run/podman/podman.sock")


class PodmanSocket(SocketEngine):
    """The podman SDK."""

    name = "podman-socket"

    def __init__(self, address: str = "") -> None:
        super().__init__(address or first_socket("CONTAINER_HOST", usual_sockets()))
        self._client_made: PodmanClient | None = None

    @contextlib.contextmanager
    def _client(self, what: str) -> Iterator[Any]:
        from podman import PodmanClient
        from podman.errors import PodmanError
        from requests.exceptions import RequestException

        if not self.address:
            hint = "systemctl --user start podman.socket, or set CONTAINER_HOST"
            raise EngineError(self.name, "there is no podman socket", "no socket", hint=hint)
        try:
            if self._client_made is None:
                self._client_made = PodmanClient(base_url=self.address, timeout=600)
            yield self._client_made
        except (PodmanError, RequestException) as error:
            raise EngineError(self.name, f"{what}: {error}", str(error)) from error

    def alive(self) -> None:
        """See SocketEngine."""
        with self._client("talk to the service") as client:
            client.version()

    def architecture(self) -> str:
        """See SocketEngine."""
        with self._client("ask for the architecture") as client:
            return str(client.version()["Arch"])

    def has_image(self, reference: str) -> bool:
        """See Engine."""
        with self._client("look for an image") as client:
            return bool(client.images.exists(reference))

    def build_image(self, folder: Path, file: str, reference: str, arguments: Mapping[str, str]) -> None:
        """See Engine."""
        from podman.errors import BuildError as SdkBuildError

        with self._client(f"build {reference}") as client:
            try:
                client.images.build(
                    path=str(folder),
                    dockerfile=file,
                    tag=reference,
                    buildargs=dict(arguments),
                    networkmode="host",
                    forcerm=True,
                )
            except SdkBuildError as error:
                raise EngineError(self.name, f"build {reference}: {error.msg}", str(error)) from error

    def import_image(self, archive: Path, reference: str) -> None:
        """See Engine."""
        with self._client("import an image") as client, archive.open("rb") as data:
            head = {"Content-Type": "application/x-tar"}
            answer = client.api.post("/images/import", data=data, params={"reference": reference}, headers=head)
            answer.raise_for_status()

    def save_image(self, reference: str, archive: Path) -> None:
        """See Engine."""
        with self._client("save an image") as client, archive.open("wb") as out:
            out.writelines(client.images.get(reference).save(named=reference))

    def remove_image(self, reference: str) -> None:
        """See Engine."""
        if self.has_image(reference):
            with self._client("remove an image") as client:
                client.images.remove(reference, force=True)

    def let_go_of_image(self, reference: str) -> bool:
        """See Engine."""
        try:
            if self.has_image(reference):
                with self._client("remove an image") as client:
                    client.images.remove(reference)
        except EngineError:
            return False
        return True

    def load(self, archive: Path, reference: str) -> None:
        """See Engine."""
        with self._client(f"load {archive.name}") as client:
            images = list(client.images.load(file_path=str(archive)))
            if not images:
                raise EngineError(self.name, f"load {archive.name}: no image in it", "")
            if reference not in images[0].tags:
                images[0].tag(*reference.rsplit(":", 1))

    def remove_store(self) -> None:
        """See Engine."""
        leftovers.sweep(self._location(), self._removed)
        self.sweep(0)
        with self._client("remove the store") as client:
            if client.volumes.exists(store_volume()):
                client.volumes.remove(store_volume())

    def create(self, spec: ContainerSpec) -> str:
        """See SocketEngine."""
        from podman.errors import APIError, ImageNotFound

        with self._client("create a container") as client:
            if spec.user == BUILD_USER and not client.volumes.exists(store_volume()):
                # Else its folder would be the service's root's, and open to every user of the machine.
                client.volumes.create(store_volume(), driver_opts={"o": f"uid={FIRST},gid={FIRST}"})
            try:
                created = client.containers.create(
                    spec.image,
                    list(spec.command),
                    name=spec.name,
                    user=spec.user,
                    environment=dict(spec.environment),
                    labels=LABELS,
                    stdin_open=True,
                    tty=spec.terminal,
                    network_mode=spec.network,
                    cap_drop=["ALL"],
                    cap_add=list(spec.capabilities),
                    seccomp_profile_path="unconfined",
                    apparmor_profile="unconfined",
                    security_opt=["disable"],  # labels
                    unmasked_paths=["ALL"],
                    ulimits=[{"Name": name, "Soft": soft, "Hard": hard} for name, soft, hard in spec.limits],
                    volumes={store_volume(): {"bind": STORE, "mode": "rw"}},
                )
            except (ImageNotFound, APIError) as error:
                if isinstance(error, ImageNotFound) or NO_IMAGE.search(str(error)):
                    raise ImageMissing(spec.image) from error
                raise
        return str(created.id)

    def _post(self, container: str, action: str, **parameters: Any) -> Any:
        with self._client(f"{action} a container") as client:
            answer = client.api.post(f"/containers/{container}/{action}", params=parameters)
            answer.raise_for_status()
            return answer

    def start(self, container: str) -> None:
        """See SocketEngine."""
        self._post(container, "start")

    def resize(self, container: str, rows: int, columns: int) -> None:
        """See SocketEngine."""
        self._post(container, "resize", h=rows, w=columns)

    def wait(self, container: str) -> int:
        """See SocketEngine."""
        return int(self._post(container, "wait").json())

    def remove(self, container: str) -> None:
        """See SocketEngine."""
        with self._client("remove a container") as client:
            answer = client.api.delete(f"/containers/{container}", params={"force": True})
            if answer.status_code != 404:
                answer.raise_for_status()

    def ended(self) -> list[tuple[str, float]]:
        """See SocketEngine."""
        filters = json.dumps({"label": list(LABELS), "status": ["exited"]})
        with self._client("list containers") as client:
            answer = client.api.get("/containers/json", params={"all": True, "filters": filters})
            answer.raise_for_status()
            return [(item["Id"], float(item["ExitedAt"])) for item in answer.json()]

    def attach_path(self, container: str) -> str:
        """See SocketEngine."""
        return f"{API}/containers/{container}/attach?stream=true&stdin=true&stdout=true&stderr=true"
