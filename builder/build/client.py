"""The agent in a build container: started with its request, asked, followed, and the store's folders fetched."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import stages
from blockdev.core.errors import BuildError
from builder.build_image.ensure import DISK
from stages.protocol.events import Event, parse

if TYPE_CHECKING:
    from builder.engines.protocol import Engine
    from builder.remote_cache.build_images import BuildImages

BOOT = Path(str(stages.__file__)).parent / "agent/bootstrap.py"
PRIVILEGED_ENGINES = ("podman", "docker")


@dataclass
class BuildContainer:
    """The agent in a build container of one engine.

    ``image`` is the build image's reference, ``note`` is told what takes a while on the host.
    """

    engine: Engine
    purpose: str
    note: Callable[[str], None]
    debug: bool = False
    privileged: bool = False
    device_mapper: bool = False
    network: bool = False  # of the block-device stage
    limits: Mapping[str, str] = field(default_factory=dict)  # of stages, as variables of the container
    images: BuildImages | None = None  # where build images come from and go to, with caches
    _image: str | None = None

    def _argv(self, *arguments: str) -> tuple[str, ...]:
        text = BOOT.read_text(encoding="utf-8")
        return ("/usr/bin/python3", "-I", "-c", text, "--store", self.engine.store, *arguments)

    def _container(self, *arguments: str) -> Any:
        from builder.build_image import ensure
        from builder.engines.protocol import Container

        reference = ensure.reference(self.purpose)
        # A disk is made of what is there; scripts that run on it may want to install something, and say so.
        network = self.purpose != DISK or self.network
        return Container(
            reference,
            self._argv(*arguments),
            self.limits,
            network=network,
            privileged=self.privileged,
            device_mapper=self.device_mapper,
        )

    def for_disks(self, disk: Mapping[str, Any]) -> BuildContainer:
        """The same agent in the build image that has the tools for disks, with the rights that this one needs."""
        return dataclasses.replace(
            self,
            purpose=DISK,
            privileged=bool(disk.get("privileged")),
            network=bool(disk.get("network")),
            device_mapper=bool(disk.get("device_mapper")),
            _image=None,
        )

    def require_privilege(self, reasons: Sequence[str]) -> None:
        """Raise BuildError, with the reasons why it is needed, where this engine has no privileged containers."""
        why = "; ".join(reasons)
        if self.engine.name not in PRIVILEGED_ENGINES:
            raise BuildError(
                f"the engine {self.engine.name} has no privileged containers, and this disk needs one: {why}",
                hint=f"--engine {' or '.join(PRIVILEGED_ENGINES)}",
            )
        from builder.engines.podman import Podman

        if isinstance(self.engine, Podman) and not self.engine.probe_result.root:
            raise BuildError(
                f"a container of an ordinary user's podman has no loop devices, and this disk needs some: {why}",
                hint="run the same command as root, or with --engine docker",
            )

    def digest(self) -> str:
        """What identifies the build image in keys."""
        from builder.build_image import ensure

        return ensure.digest(self.engine, self.purpose)

    def ask(
        self,
        archive: bytes,
        on_event: Callable[[Event, Callable[[str], None]], None],
        on_chatter: Callable[[str], None],
    ) -> int:
        """Have the agent answer a request; makes the build image first where it is missing. Returns the exit status."""
        from builder.build import agent_code
        from builder.build_image import ensure
        from builder.engines.protocol import ImageMissing, Send

        def run() -> int:
            container = self._container()
            bytecode = agent_code.Bytecode(f"{self.engine.name} {container.image}")
            kept = bytecode.kept()

            def on_line(line: str, send: Send | None) -> None:
                event = parse(line) if send else None
                if event is None or send is None:
                    on_chatter(line)
                elif not bytecode.take(event):
                    on_event(event, send)

            status = self.engine.run(container, agent_code.with_code(archive, kept), on_line)
            return run() if bytecode.outdated else status

        self._check_host()
        if self.engine.name != "host":
            from builder.build_image.usage import note_use

            note_use(self.engine.name, ensure.reference(self.purpose))
        if self.images:
            self.images.use(self.engine, ensure.reference(self.purpose))
        try:
            return run()
        except ImageMissing:
            ensure.ensure(self.engine, self.purpose, self.note, self.images.bring if self.images else None)
            return run()

    def _check_host(self) -> None:
        """The host engine's image is the host: are all tools there? Asked again when the tools change."""
        if self.engine.name != "host":
            return
        from builder.build_image import ensure
        from builder.host_state import probe_results

        state = self.digest()
        if probe_results.recall(f"tools {self.purpose}", state) is None:
            ensure.ensure(self.engine, self.purpose, self.note)
            probe_results.remember(f"tools {self.purpose}", state, True)

    def enter(self, session: str) -> int:
        """Open a session's shell on this terminal."""
        from builder.build import agent_code

        return self.engine.interactive(self._container("--enter", session, *agent_code.code_arguments()))

    def fetch(self, path: str) -> Any:
        """A folder of the store as a tar stream."""
        return self.engine.fetch(self._container(), path)

    def local(self, path: str) -> Path | None:
        """A folder of the store as this process can read it itself, with the files in it; None where it cannot."""
        folder = Path(path)
        if self.engine.name != "host" or not os.access(folder, os.R_OK | os.X_OK):
            return None
        return folder if all(file.is_file() and os.access(file, os.R_OK) for file in folder.iterdir()) else None
