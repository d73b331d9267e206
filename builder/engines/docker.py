"""docker's command line. Its containers belong to a daemon that is mostly root of the host, and it maps no ids.

So the container runs as an ordinary user, who opens a user namespace of his own (``stages.sandbox.user_namespace``).
Where the daemon itself is rootless or maps its users, its containers' root is no root of the host and can do the work
directly.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from builder.engines import block_devices, probe_container, rights
from builder.engines.command_engine import CommandLineEngine, last_line
from builder.engines.protocol import STORE, Container, EngineError
from builder.engines.remote_address import check_architecture
from builder.engines.subordinate_ids import FIRST
from builder.engines.user_namespace import enter
from builder.host_state import probe_results

RIGHTS = (
    "--security-opt=seccomp=unconfined",
    "--security-opt=apparmor=unconfined",
    "--security-opt=systempaths=unconfined",
)
BUILD_USER = f"{FIRST}:{FIRST}"  # the user `build` of containerfiles/debian.setup


@dataclass(frozen=True)
class ProbeResult:
    """What a probe found: whether the container's root may do the work itself, and options that this docker knows."""

    direct: bool = False
    rights: tuple[str, ...] = RIGHTS


def choices() -> tuple[ProbeResult, ...]:
    """What to try, in order: a root that turns out to be the host's own is refused by the trial itself."""
    without_apparmor = tuple(right for right in RIGHTS if "apparmor" not in right)
    return (
        ProbeResult(False, RIGHTS),
        ProbeResult(True, RIGHTS),
        ProbeResult(False, without_apparmor),
        ProbeResult(True, without_apparmor),
    )


class Docker(CommandLineEngine):
    """docker as a command."""

    name = "docker"

    def __init__(self) -> None:
        super().__init__(("docker",))
        self.probe_result = ProbeResult()

    def options(self, container: Container) -> list[str]:
        """See CommandLineEngine."""
        network = "--network=host" if container.network else "--network=none"
        if container.privileged:
            return [network, *block_devices.options(container)]
        user = [] if self.probe_result.direct else [f"--user={BUILD_USER}"]
        return [network, *self.probe_result.rights, *rights.options(mapped=self.probe_result.direct), *user]

    def command(self, container: Container) -> tuple[str, ...]:
        """See CommandLineEngine."""
        if container.image == probe_container.IMAGE or container.privileged:
            return container.argv
        return container.argv if self.probe_result.direct else enter(container.argv)

    def _stamp(self) -> str:
        endpoint = os.environ.get("DOCKER_HOST", "") + os.environ.get("DOCKER_CONTEXT", "")
        config = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
        program = shutil.which("docker") or ""
        return probe_results.stamp(program, config, "/etc/docker/daemon.json") + f" at={endpoint}"

    def probe(self) -> None:
        """See Engine."""
        if shutil.which("docker") is None:
            hint = "sudo apt-get install docker.io"
            raise EngineError(self.name, "docker is not there", "docker: not found", hint=hint)
        record = probe_results.recall(self.name, self._stamp())
        if record is not None:
            self.probe_result = ProbeResult(record["direct"], tuple(record["rights"]))
            return
        check_architecture(
            self.name, self.ask(["version", "--format", "{{.Server.Arch}}"], "talk to the daemon").strip()
        )
        errors: list[str] = []
        with probe_container.archive() as archive:
            self.import_image(archive, probe_container.IMAGE)
        try:
            for choice in choices():
                self.probe_result = choice
                done = self.try_container(
                    Container(probe_container.IMAGE, probe_container.namespaced(STORE, direct=choice.direct))
                )
                if probe_container.succeeded(self, done.errors) and done.status == 0:
                    probe_results.remember(self.name, self._stamp(), asdict(choice))
                    return
                errors.append(done.errors.strip())
        finally:
            probe_container.remove(self)
        raise EngineError(self.name, f"no container runs here: {last_line(errors[0])}", "\n".join(errors))
