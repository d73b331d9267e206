"""What podman and docker have in common as command lines.

python-on-whales drives images and volumes; it takes 0.2 s to import, so it is loaded when it is used. Containers are
run on the same command line directly: a build feeds standard input and reads standard output at the same time.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from blockdev.core import tools
from blockdev.core.errors import BuildError
from builder.engines import leftovers
from builder.engines import process as conversation
from builder.engines.protocol import PREFIX, STORE, Container, EngineError, ImageMissing, OnLine, store_volume
from builder.host_state import probe_results

if TYPE_CHECKING:
    from python_on_whales import DockerClient

PULL_TIME = 60.0  # seconds for a registry to give a base image; after that the base is made from a package mirror
TRIAL_TIME = 60.0  # seconds for a trial container
NO_IMAGE = re.compile(r"no such image|image not known|unable to find image|image not found", re.IGNORECASE)
GONE = re.compile(r"no (such )?container", re.IGNORECASE)
ENGINE_STATUSES = (125, 126, 127)  # podman and docker: their own failure, command not to be run, command not found

Result = TypeVar("Result")


def container_name() -> str:
    """A new name for a container."""
    return PREFIX + secrets.token_hex(6)


def fetch_argv(path: str) -> tuple[str, ...]:
    """The command that writes the folder as a tar; capabilities of files travel as extended attributes."""
    options = ("--format=posix", "--sparse", "--numeric-owner", "--xattrs", "--xattrs-include=security.capability")
    return ("tar", *options, "-C", path, "-cf", "-", ".")


class CommandLineEngine(ABC):
    """An engine driven by its command; subclasses say which options a container needs."""

    name = ""
    store = STORE

    def __init__(self, client: tuple[str, ...]) -> None:
        self.plain = client
        self.client = client  # with the options that a probe found

    # -- what subclasses say ---------------------------------------------------------------------------------------

    @abstractmethod
    def options(self, container: Container) -> list[str]:
        """Options of ``run`` beyond the name, standard input and environment."""

    def command(self, container: Container) -> tuple[str, ...]:
        """What the engine starts so that ``container.argv`` runs as root of its own user namespace."""
        return container.argv

    # -- images and volumes ----------------------------------------------------------------------------------------

    def whales(self, client: tuple[str, ...] | None = None) -> DockerClient:
        """python-on-whales on this engine's command line."""
        from python_on_whales import DockerClient

        return DockerClient(
            client_call=list(client or self.client), client_type="podman" if self.name == "podman" else "docker"
        )

    def _drive(self, what: str, action: Callable[[], Result]) -> Result:
        from python_on_whales.exceptions import DockerException

        try:
            return action()
        except DockerException as error:
            text = error.stderr or str(error)
            raise EngineError(self.name, f"{what}: {last_line(text)}", text) from error

    def has_image(self, reference: str) -> bool:
        """See Engine."""
        return self._drive("look for an image", lambda: self.whales().image.exists(reference))

    def import_image(self, archive: Path, reference: str) -> None:
        """See Engine."""
        self._drive("import an image", lambda: self.whales().image.import_(archive, reference))

    def save_image(self, reference: str, archive: Path) -> None:
        """See Engine."""
        self.ask(["save", "-o", str(archive), reference], "save an image")

    def restore_image(self, archive: Path, reference: str) -> None:
        """See Engine."""
        self.ask(["load", "-i", str(archive)], "restore an image")
        if not self.has_image(reference):
            raise EngineError(self.name, f"restore an image: {reference} is not in it", "")

    def remove_image(self, reference: str) -> None:
        """See Engine."""
        if self.has_image(reference):
            self._drive("remove an image", lambda: self.whales().image.remove(reference, force=True))

    def let_go_of_image(self, reference: str) -> bool:
        """See Engine."""
        try:
            if self.has_image(reference):
                self.ask(["rmi", reference], "remove an image")
        except EngineError:
            return False
        return True

    def build_image(self, folder: Path, file: str, reference: str, arguments: Mapping[str, str]) -> None:
        """See Engine."""
        self.pull(arguments["BASE"])
        build_arguments = [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
        options = ["--force-rm", "--network=host", *build_arguments]
        self.ask(["build", "-t", reference, "-f", str(folder / file), *options, str(folder)], f"build {reference}")

    def pull(self, base: str) -> None:
        """Pull a base image where it is not there."""
        if not self.has_image(base):
            self.ask(["pull", base], f"pull {base}", PULL_TIME)

    def ask(self, arguments: list[str], what: str, limit: float | None = None) -> str:
        """A command of the engine that python-on-whales lacks (a time limit, an option); returns what it prints."""
        try:
            done = tools.run([*self.client, *arguments], seconds=limit)
        except tools.TimeoutExpired as error:
            raise EngineError(self.name, f"{what}: no end after {limit:.0f} s", str(error)) from error
        if done.status != 0:
            raise EngineError(self.name, f"{what}: {last_line(done.errors)}", done.errors)
        return done.text

    def load(self, archive: Path, reference: str) -> None:
        """See Engine."""
        client = self.whales(self.plain)  # the user's own images, wherever the build images lie

        def action() -> None:
            loaded = client.image.load(archive)
            if reference not in loaded:
                client.image.tag(loaded[0], reference)

        self._drive(f"load {archive.name}", action)

    def remove_store(self) -> None:
        """See Engine."""

        def action() -> None:
            client = self.whales()
            if client.volume.exists(store_volume()):
                client.volume.remove(store_volume())

        leftovers.sweep(self.location(), self.remove)
        self._drive("remove the store", action)

    # -- containers ------------------------------------------------------------------------------------------------

    def location(self) -> str:
        """The engine and where it is, in one string: where a container of it is to be looked for."""
        variables = ("DOCKER_HOST", "DOCKER_CONTEXT", "CONTAINER_HOST", "CONTAINER_CONNECTION")
        return " ".join([*self.client, *(f"{name}={os.environ[name]}" for name in variables if name in os.environ)])

    @contextlib.contextmanager
    def _container(self) -> Iterator[leftovers.Life]:
        """A new container's name; what is left of the container afterwards is removed."""
        with leftovers.container(self.location(), container_name(), self.remove) as life:
            yield life

    def remove(self, name: str) -> bool:
        """Remove a container, running or not; tells whether it is gone."""
        self._quietly("kill", name)  # podman would ask it to end, and wait
        done = self._quietly("rm", "-f", name)
        return done is not None and (done.status == 0 or bool(GONE.search(done.errors)))

    def run_command(self, container: Container, name: str, *terminal: str) -> list[str]:
        """The whole command line that runs a container."""
        environment = [part for key in container.environment for part in ("-e", key)]
        volume = f"{store_volume()}:{STORE}"
        # What a container says is read here as it comes: the engine need not keep it on the disk as well.
        kept = "--log-driver=none"
        command = [*self.client, "run", "--rm", *terminal, "--pull=never", kept, "--name", name]
        command += [*self.options(container), "--label", f"{PREFIX}build=1", *environment, "-v", volume]
        return [*command, container.image, *self.command(container)]

    def environment(self, container: Container) -> dict[str, str]:
        """The engine command's environment: it hands the container's variables on by name, off the command line."""
        return {**os.environ, **container.environment}

    def run(self, container: Container, request: bytes, on_line: OnLine) -> int:
        """See Engine."""
        with self._container() as life:
            finished = conversation.converse(
                self.run_command(container, life.name, "-i"),
                conversation.framed(request),
                on_line,
                lambda process: self.stop(life.name, process),
                self.environment(container),
            )
            life.ended = finished.status == 0
        self._check(container, finished)
        return finished.status

    def interactive(self, container: Container) -> int:
        """See Engine."""
        terminal = ("-i", "-t") if sys.stdin.isatty() and sys.stdout.isatty() else ("-i",)  # a pipe stays a pipe
        with self._container() as life, conversation.undisturbed():  # Ctrl-C belongs to the program on the terminal
            command = self.run_command(container, life.name, *terminal)
            status = subprocess.call(command, env=self.environment(container))
            life.ended = status == 0
        if status == ENGINE_STATUSES[0] and not self.has_image(container.image):
            raise ImageMissing(container.image)
        return status

    def fetch(self, container: Container, path: str) -> Iterator[bytes]:
        """See Engine."""
        reading = Container(container.image, fetch_argv(path), {}, network=False)
        with self._container() as life:
            yield from conversation.stream(
                self.run_command(reading, life.name),
                lambda process: self.stop(life.name, process),
                lambda finished: self._failure(reading, finished) or self._unreadable(path, finished),
            )
            life.ended = True

    def _unreadable(self, path: str, finished: conversation.Finished) -> EngineError:
        return EngineError(self.name, f"cannot read {path}: {last_line(finished.errors)}", finished.errors)

    def _check(self, container: Container, finished: conversation.Finished) -> None:
        failure = self._failure(container, finished)
        if failure is not None:
            raise failure

    def _failure(self, container: Container, finished: conversation.Finished) -> EngineError | ImageMissing | None:
        if finished.status not in ENGINE_STATUSES:
            return None
        if NO_IMAGE.search(finished.errors):
            return ImageMissing(container.image)
        probe_results.forget(self.name)  # what the probe found may hold no more
        return EngineError(self.name, f"the build container did not run: {last_line(finished.errors)}", finished.errors)

    def stop(self, name: str, process: subprocess.Popen[bytes]) -> None:
        """End a container and its client, also one that the client has not made yet."""
        until = time.monotonic() + conversation.PATIENCE
        while process.poll() is None and time.monotonic() < until:
            self._quietly("kill", name)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.3)
        if process.poll() is None:
            process.kill()
            process.wait()

    def _quietly(self, *arguments: str) -> tools.Done | None:
        with contextlib.suppress(OSError, BuildError, tools.TimeoutExpired):
            return tools.run([*self.client, *arguments], seconds=conversation.PATIENCE)
        return None

    def try_container(self, container: Container) -> conversation.Finished:
        """Run a container without a request and collect what it says: for trials."""
        with self._container() as life:
            command = self.run_command(container, life.name)
            try:
                done = tools.run(command, seconds=TRIAL_TIME)
            except tools.TimeoutExpired:
                return conversation.Finished(ENGINE_STATUSES[0], f"no end after {TRIAL_TIME:.0f} s")
            except BuildError as error:
                life.ended = True
                return conversation.Finished(ENGINE_STATUSES[0], error.what)
            except OSError as error:
                life.ended = True
                return conversation.Finished(ENGINE_STATUSES[0], f"{command[0]}: {error.strerror}")
            life.ended = done.status == 0
        return conversation.Finished(done.status, done.text + done.errors)


def last_line(text: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
