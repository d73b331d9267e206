"""The engines as the contract tests meet them: each adapter, as root and as an ordinary user, in its own process."""

from __future__ import annotations

import contextlib
import os
import pickle
import pwd
import shutil
import signal
import subprocess
import sysconfig
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from builder import engines
from builder.build_image import ensure
from builder.engines import user_namespace
from builder.engines.protocol import Engine

CASES = ("podman-root", "docker", "host-root")
# The same engines reached otherwise, or as an ordinary user: their tests take as long again, each.
MORE_CASES = ("podman-user", "docker-socket", "podman-socket-root", "podman-socket-user", "host-user")
# Of this run alone: another run of the tests may be under way on the machine, or have been killed on it.
USER = f"dib-ctr-test-{os.getpid()}"
VOLUME = f"dib-ctr-test-store-{os.getpid()}"
ROOT = Path(__file__).parents[2]
WAIT = 20.0  # seconds for a daemon to answer

Body = Callable[..., Any]


@dataclass(frozen=True)
class Case:
    """One engine as one user."""

    name: str
    adapter: str
    image: str
    user: pwd.struct_passwd
    environment: dict[str, str] = field(default_factory=dict)

    def call(self, body: Body, *arguments: Any) -> Any:
        """``body(engine, ...)`` in a process of the case's user, with its environment; returns what it returns."""
        read, write = os.pipe()
        child = self.spawn(body, *arguments, output=write)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            data = pipe.read()
        os.waitpid(child, 0)
        good, result = pickle.loads(data) if data else (False, "the process said nothing")
        if not good:
            pytest.fail(f"in a process of {self.user.pw_name}:\n{result}")
        return result

    def spawn(self, body: Body, *arguments: Any, output: int | None = None) -> int:
        """The same without waiting: returns the process's id."""
        child = os.fork()
        if child:
            return child
        status = 1
        try:
            self._become()
            engine = engines.make(self.adapter)
            engine.probe()
            answer = (True, body(engine, *arguments))
            status = 0
        except BaseException:  # noqa: BLE001 - the parent tells what it was
            answer = (False, traceback.format_exc())
        if output is not None:
            os.write(output, pickle.dumps(answer))
        os._exit(status)

    def words(self) -> tuple[str, ...]:
        """What comes before a command that is to run as the case's user, with its environment."""
        user = self.user
        own = {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name}
        change: tuple[str, ...] = ()
        if os.getuid() != user.pw_uid:
            change = ("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups")
            own = {**own, "XDG_RUNTIME_DIR": ""}
        named = (f"{name}={value}" for name, value in {**own, **self.environment}.items() if value)
        without = (f"--unset={name}" for name, value in own.items() if not value)
        return (*change, "env", *without, *named)

    def dib_ctr(self, code: Mapping[str, str], *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """Run ``dib-ctr`` as the case's user in ``folder``; ``code`` are the variables of an open copy of the code."""
        command = (*self.words(), *(f"{name}={value}" for name, value in code.items()), "/usr/bin/python3", "-m")
        return subprocess.run(
            [*command, "builder.cli", *words], cwd=folder, capture_output=True, text=True, check=False
        )

    def _become(self) -> None:
        os.environ.update(self.environment)
        if os.getuid() != self.user.pw_uid:
            os.initgroups(self.user.pw_name, self.user.pw_gid)
            os.setresgid(self.user.pw_gid, self.user.pw_gid, self.user.pw_gid)
            os.setresuid(self.user.pw_uid, self.user.pw_uid, self.user.pw_uid)
            os.environ.update(HOME=self.user.pw_dir, USER=self.user.pw_name, LOGNAME=self.user.pw_name)
            os.environ.pop("XDG_RUNTIME_DIR", None)
        os.chdir("/")


def missing(reason: str) -> None:
    """The machine lacks something: skip, or fail where all engines must be there."""
    if os.environ.get("DIB_CTR_TEST_ALL_ENGINES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def preload() -> None:
    """Load what a process of another user could not, where the checkout or the libraries are closed to others."""
    import docker
    import podman
    import python_on_whales

    assert docker
    assert podman
    assert python_on_whales
    for name in engines.ADAPTERS:
        engines.make(name)
    user_namespace.enter(())
    python_on_whales.DockerClient(client_call=["true"], client_type="podman")


@contextlib.contextmanager
def ordinary_user() -> Iterator[pwd.struct_passwd]:
    """A user with subordinate ids, gone afterwards."""
    subprocess.run(["useradd", "--create-home", USER], check=True)
    user = pwd.getpwnam(USER)
    try:
        yield user
    finally:
        _end_processes(user.pw_uid)
        subprocess.run(["userdel", USER], check=True)
        subprocess.run(["rm", "-rf", user.pw_dir], check=True)


def _end_processes(uid: int) -> None:
    """podman leaves a process that holds the user's namespace; returns when none is there any more."""
    end = time.monotonic() + WAIT
    while found := [folder for folder in Path("/proc").glob("[0-9]*") if _lives_as(uid, folder)]:
        assert time.monotonic() < end, f"{found} do not end"
        for folder in found:
            with contextlib.suppress(OSError):
                os.kill(int(folder.name), signal.SIGKILL)
        time.sleep(0.1)


def _lives_as(uid: int, folder: Path) -> bool:
    """Is a process of /proc this user's, and not only waited for."""
    with contextlib.suppress(OSError):
        return folder.stat().st_uid == uid and (folder / "stat").read_text().rpartition(") ")[2][0] != "Z"
    return False


def _await_answer(process: subprocess.Popen[bytes], socket: Path, log: Path) -> None:
    end = time.monotonic() + WAIT
    while not socket.is_socket():
        if process.poll() is not None or time.monotonic() > end:
            missing(f"{process.args!r} does not run here: {log.read_text()[-600:]}")
        time.sleep(0.1)


@contextlib.contextmanager
def daemon(folder: Path, *command: str) -> Iterator[str]:
    """A daemon that makes ``folder``/socket; yields that socket's address."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd="/")
    try:
        _await_answer(process, folder / "socket", log)
        yield f"unix://{folder}/socket"
    finally:
        process.terminate()
        process.wait(WAIT)


@contextlib.contextmanager
def docker_daemon(folder: Path) -> Iterator[str]:
    """dockerd, with networks and storage that leave the machine's own alone."""
    places = (f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid")
    network = ("--iptables=false", "--ip6tables=false", "--bridge=none")
    try:
        with daemon(folder, "dockerd", *network, *places, f"--host=unix://{folder}/socket") as address:
            yield address
    finally:  # dockerd leaves the mount of a network namespace behind
        subprocess.run(["umount", f"{folder}/exec/netns/default"], capture_output=True, check=False)


@contextlib.contextmanager
def podman_service(folder: Path, user: pwd.struct_passwd) -> Iterator[str]:
    """podman's API service as this user, with the OCI runtime and storage that work for him."""
    caller = Case("podman", "podman", "", user, {"XDG_CACHE_HOME": f"{folder}/cache"})
    client = caller.call(lambda engine: engine.client)
    command = (*caller.words(), *client, "system", "service", "--time=0", f"unix://{folder}/socket")
    with daemon(folder, *command) as address:
        yield address


def open_copy(folder: Path) -> dict[str, str]:
    """Copies of the checkout and of its libraries that another user can read; the variables that choose them.

    Makes the folder where it is not there.
    """
    if not folder.exists():
        half = folder.with_suffix(".half")
        shutil.rmtree(half, ignore_errors=True)
        for name in ("builder", "stages", "blockdev", "qemu", "containerfiles"):
            shutil.copytree(ROOT / name, half / "code" / name)
        left_out = shutil.ignore_patterns("mypy*", "pip")
        shutil.copytree(sysconfig.get_path("purelib"), half / "libraries", ignore=left_out)
        half.rename(folder)
    return {"PYTHONPATH": f"{folder}/code:{folder}/libraries"}


def build_archive(path: Path) -> None:
    """Write a build image's root file system where it is not there."""
    if not path.exists():
        half = path.with_suffix(".half")
        with half.open("wb") as file:
            ensure.write_archive(file.fileno())
        half.rename(path)


def give_image(engine: Engine, archive: str, image: str) -> None:
    """In a case's process: import the build image where it is not there."""
    if not engine.has_image(image):
        engine.import_image(Path(archive), image)
