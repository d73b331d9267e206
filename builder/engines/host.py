"""No container engine: a user namespace of our own, and the host's tools. Nothing to install where they are there."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from blockdev.core import tools
from blockdev.core.errors import BuildError
from blockdev.core.tools import STANDARD_PATH
from builder.engines import probe_container
from builder.engines import process as conversation
from builder.engines.command_engine import TRIAL_TIME, fetch_argv, last_line
from builder.engines.protocol import Container, EngineError, OnLine
from builder.engines.subordinate_ids import closed_folder, root_range
from builder.engines.user_namespace import PYTHON, enter, enter_with_all
from builder.host_state import probe_results
from stages.sandbox.user_namespace import FAILED

HANDED_ON = (
    *("TERM", "http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
)


def store_folder() -> Path:
    """Where the host engine's store is: $DIB_CTR_STORE where that is a path, else below the user's data.

    Root's is /var/lib/dib-ctr/store.
    """
    setting = os.environ.get("DIB_CTR_STORE", "")
    if "/" in setting:
        return Path(setting).absolute()
    if os.getuid() == 0:
        return Path("/var/lib/dib-ctr/store")
    data = Path(os.environ.get("XDG_DATA_HOME") or Path(pwd.getpwuid(os.getuid()).pw_dir) / ".local/share")
    return data / "dib-ctr/store"


class Host:
    """Builds in a user namespace of the host."""

    name = "host"

    def __init__(self) -> None:
        self._folder = store_folder()
        self.store = str(self._folder)

    # -- the store -------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Make the store's folder, owned by a build's root and closed to all others: there are set-uid files in it."""
        try:
            for folder in reversed((self._folder, *self._folder.parents)):
                if folder.is_dir():
                    continue
                with contextlib.suppress(FileExistsError):  # another build makes it at the same time
                    folder.mkdir()
                    folder.chmod(0o755)  # whatever the umask says: a build's root must get through
            if os.getuid() == 0 and self._folder.stat().st_uid != root_range()[0]:
                self._own()
            if self._folder.stat().st_mode & 0o077:
                self._folder.chmod(0o700)
        except OSError as error:
            raise BuildError(
                f"the store {self.store} cannot be made: {error.strerror}",
                where="host engine",
                hint="name a folder of your own: DIB_CTR_STORE=/some/where",
            ) from error

    def _own(self) -> None:
        owner = root_range()[0]
        if any(self._folder.iterdir()):
            if self._folder.stat().st_uid == owner:  # another build was faster
                return
            raise BuildError(
                f"the store {self.store} belongs to somebody else than a build's root (id {owner})",
                where="host engine",
                hint="name an empty folder: DIB_CTR_STORE=/some/where",
            )
        if (closed := closed_folder(self._folder.parent)) is not None:
            raise BuildError(
                f"the store {self.store} lies below {closed}, which a build's root may not enter",
                where="host engine",
                hint=f"name another folder (DIB_CTR_STORE=/some/where), or: chmod o+x {closed}",
            )
        os.chown(self._folder, owner, owner)

    def remove_store(self) -> None:
        """See Engine; what is in the store belongs to ids that only a build's root may remove."""
        if not self._folder.is_dir():
            return
        command = self._command(("find", self.store, "-mindepth", "1", "-delete"), network=False)
        done = tools.run(command, env=self._environment({}))
        if done.status != 0:
            raise EngineError(self.name, f"the store cannot be removed: {last_line(done.errors)}", done.errors)
        self._folder.rmdir()

    # -- images: the host itself is the image ------------------------------------------------------------------------

    def has_image(self, reference: str) -> bool:
        """See Engine."""
        return True

    def build_image(self, folder: Path, file: str, reference: str, arguments: Mapping[str, str]) -> None:
        """Nothing to build: see Engine."""

    def import_image(self, archive: Path, reference: str) -> None:
        """Nothing to import: see Engine."""

    def save_image(self, reference: str, archive: Path) -> None:
        """Nothing to save: see Engine."""

    def restore_image(self, archive: Path, reference: str) -> None:
        """Nothing to restore: see Engine."""

    def remove_image(self, reference: str) -> None:
        """Nothing to remove: see Engine."""

    def let_go_of_image(self, reference: str) -> bool:
        """There are none: see Engine."""
        return True

    def load(self, archive: Path, reference: str) -> None:
        """There are no images to load into: always an error."""
        raise BuildError(
            "the host engine has no images of its own to load into",
            where=f"--load of {archive.name}",
            hint=f"podman load -i {archive}, or build with --engine podman or docker",
        )

    # -- containers --------------------------------------------------------------------------------------------------

    def _command(self, argv: tuple[str, ...], *, network: bool, limited: bool = True) -> tuple[str, ...]:
        options: dict[str, Any] = {"network": network, "tmp": True}
        options["keep"] = [str(self._folder)] if str(self._folder).startswith("/tmp/") and self._folder.is_dir() else []
        if os.getuid() == 0:
            options["range"] = root_range()
        return enter(argv, **options) if limited else enter_with_all(argv, **options)

    @staticmethod
    def _environment(own: Mapping[str, str]) -> dict[str, str]:
        handed = {name: os.environ[name] for name in HANDED_ON if name in os.environ}
        return {"PATH": STANDARD_PATH, "HOME": "/tmp", **handed, **own}

    def _failure(self, finished: conversation.Finished) -> EngineError | None:
        if finished.status != FAILED:
            return None
        probe_results.forget(self.name)
        return EngineError(self.name, f"no user namespace here: {last_line(finished.errors)}", finished.errors)

    def run(self, container: Container, request: bytes, on_line: OnLine) -> int:
        """See Engine."""
        self._prepare()
        finished = conversation.converse(
            self._command(container.argv, network=container.network),
            conversation.framed(request),
            on_line,
            subprocess.Popen.terminate,
            self._environment(container.environment),
        )
        if (failure := self._failure(finished)) is not None:
            raise failure
        return finished.status

    def interactive(self, container: Container) -> int:
        """See Engine."""
        self._prepare()
        command = self._command(container.argv, network=container.network)
        with conversation.undisturbed():  # Ctrl-C belongs to the program on the terminal
            return subprocess.call(command, env=self._environment(container.environment))

    def fetch(self, container: Container, path: str) -> Iterator[bytes]:
        """See Engine."""
        return conversation.stream(
            self._command(fetch_argv(path), network=False),
            subprocess.Popen.terminate,
            lambda finished: EngineError(
                self.name, f"cannot read {path}: {last_line(finished.errors)}", finished.errors
            ),
            self._environment({}),
        )

    def make_archive(self, argv: tuple[str, ...], environment: Mapping[str, str], output: int) -> None:
        """Run a command that writes a build image's archive to its standard output (the descriptor ``output``).

        It has no store, and is no build container: for ``builder.build_image.ensure``.
        """
        process = subprocess.Popen(
            self._command(argv, network=True, limited=False),
            env=self._environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            errors = process.communicate()[1].decode("utf-8", "replace")
        except BaseException:
            with conversation.undisturbed():
                process.terminate()
                conversation.end(process)
            raise
        if process.returncode != 0:
            lines = "\n  ".join(errors.strip().splitlines()[-8:])
            hint = "`dib-ctr doctor --engine host` tries user namespaces; is the mirror reachable?"
            raise EngineError(self.name, f"{argv[0]} failed:\n  {lines}", errors, hint=hint)

    # -- probe -------------------------------------------------------------------------------------------------------

    def _stamp(self) -> str:
        programs = [program for name in ("newuidmap", "newgidmap") if (program := shutil.which(name))]
        apparmor = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
        return probe_results.stamp(PYTHON, *programs, "/etc/subuid", "/etc/subgid", apparmor) + f" store={self.store}"

    def probe(self) -> None:
        """See Engine."""
        if probe_results.recall(self.name, self._stamp()) is not None:
            return
        self._prepare()
        command = self._command(probe_container.argv(self.store), network=True)
        done = tools.run(command, env=self._environment({}), seconds=TRIAL_TIME)
        if not probe_container.succeeded(self, done.text + done.errors) or done.status != 0:
            raise EngineError(self.name, f"no build runs here: {last_line(done.errors)}", done.errors)
        probe_results.remember(self.name, self._stamp(), True)
