"""Engines that are told where to be: by an address, by ssh, by the name of a connection or context."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder.build_image import ensure
from builder.engines.podman import Podman
from tests.integration.command import ELEMENTS
from tests.integration.engine_cases import missing
from tests.integration.registry import free_port

STORE = f"dib-ctr-test-remote-{os.getpid()}"
LOCAL = ("DOCKER_HOST", "DOCKER_CONTEXT", "CONTAINER_HOST", "CONTAINER_CONNECTION")


def build(place: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Build the tiny image into ``place``; where the engine is the words or variables say, never the caller's."""
    environment = {name: value for name, value in os.environ.items() if name not in LOCAL}
    own = {"XDG_CACHE_HOME": str(place / "cache"), "DIB_CTR_STORE": STORE, "ELEMENTS_PATH": str(ELEMENTS)}
    command = [sys.executable, "-P", "-m", "builder.cli", "build", "--dest", str(place), "--progress", "plain"]
    return subprocess.run(
        [*command, *words, "tiny-os"],
        env={**environment, **own, **variables},
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )


def built(place: Path, *words: str, **variables: str) -> str:
    """Build, and return the image's digest."""
    done = build(place, *words, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    index = json.loads((place / "tiny-os.oci/index.json").read_text())
    shutil.rmtree(place / "tiny-os.oci")
    return str(index["manifests"][0]["digest"])


# -- podman ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def podman_tcp() -> Iterator[str]:
    """podman's service on TCP of the loopback device, with the images of the engine podman."""
    if shutil.which("podman") is None:
        missing("there is no podman")
    engine = Podman()
    engine.probe()
    ensure.ensure(engine)
    port = free_port()
    command = [*engine.client, "system", "service", "--time=0", f"tcp://127.0.0.1:{port}"]
    with _served(command, port) as address:
        yield address
    subprocess.run([*engine.client, "volume", "rm", "-f", STORE], capture_output=True, check=False)


@contextlib.contextmanager
def _served(command: list[str], port: int) -> Iterator[str]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:
        _await(port, process)
        yield f"tcp://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        assert process.poll() is None, f"{process.args!r} does not run here"
        assert time.monotonic() < end
        time.sleep(0.1)


def test_podman_by_address_and_by_name(place: Path, podman_tcp: str) -> None:
    """The command line over TCP, the socket's engine, and a connection that containers.conf names: one image."""
    digest = built(place, "--engine", "podman", "--host", podman_tcp)
    assert built(place, "--engine", "podman-socket", "--host", podman_tcp) == digest
    configuration = place / "containers.conf"
    configuration.write_text(f'[engine.service_destinations.there]\nuri = "{podman_tcp}"\n')
    assert built(place, "--engine", "podman", "--host", "there", CONTAINERS_CONF=str(configuration)) == digest
    wrong = build(place, "--engine", "podman", "--host", "elsewhere", CONTAINERS_CONF=str(configuration))
    assert wrong.returncode == 1
    assert "elsewhere" in wrong.stderr
    nobody = build(place, "--engine", "podman", "--host", f"tcp://127.0.0.1:{free_port()}")
    assert nobody.returncode == 1
    assert "onnect" in nobody.stderr


# -- docker ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def docker(docker_address: str, build_archive: Callable[[], Path]) -> Iterator[str]:
    """A docker daemon with the build image."""
    if shutil.which("docker") is None:
        missing("there is no docker")
    image = ensure.reference()
    client = ["docker", "--host", docker_address]
    if subprocess.run([*client, "image", "inspect", image], capture_output=True, check=False).returncode:
        subprocess.run([*client, "import", str(build_archive()), image], check=True, capture_output=True)
    yield docker_address
    subprocess.run([*client, "volume", "rm", "-f", STORE], capture_output=True, check=False)


@pytest.mark.thorough("a docker daemon with the build image; `just test` has podman's address")
def test_docker_by_address_and_by_context(place: Path, docker: str) -> None:
    digest = built(place, "--engine", "docker", "--host", docker)
    assert built(place, "--engine", "docker-socket", "--host", docker) == digest
    folder = place / "docker"
    folder.mkdir()
    subprocess.run(
        ["docker", "--config", str(folder), "context", "create", "there", "--docker", f"host={docker}"],
        check=True,
        capture_output=True,
    )
    assert built(place, "--engine", "docker", "--host", "there", DOCKER_CONFIG=str(folder)) == digest
    refused = build(place, "--engine", "docker-socket", DOCKER_HOST="ssh://somebody@127.0.0.1")
    assert refused.returncode == 1
    assert "--engine docker" in refused.stderr


@pytest.fixture
def ssh(place: Path, docker: str, other_user: pwd.struct_passwd) -> Iterator[dict[str, str]]:
    """A server of ssh on loopback that leads to docker; the variables with which the command ``ssh`` finds it."""
    if os.getuid() != 0 or shutil.which("dropbear") is None:
        missing("only root can start a server that lets another user in")
    keys = place / "keys"
    keys.mkdir(mode=0o700)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / "user"], check=True)
    subprocess.run(["dropbearkey", "-t", "ed25519", "-f", keys / "host"], check=True, capture_output=True)
    # What docker runs there, `docker system dial-stdio`, on the daemon of the tests.
    home = Path(other_user.pw_dir) / ".ssh"
    home.mkdir(mode=0o700)
    command = f"{shutil.which('docker')} --host {docker} system dial-stdio"
    (home / "authorized_keys").write_text(f'command="{command}" {(keys / "user.pub").read_text()}')
    for path in (home, home / "authorized_keys"):
        os.chown(path, other_user.pw_uid, other_user.pw_gid)
    Path(docker.removeprefix("unix://")).chmod(0o666)
    port = free_port()
    (keys / "config").write_text(
        f"Host there\n HostName 127.0.0.1\n Port {port}\n User {other_user.pw_name}\n IdentityFile {keys}/user\n"
        f" UserKnownHostsFile {keys}/known\n StrictHostKeyChecking no\n BatchMode yes\n LogLevel ERROR\n"
    )
    # docker runs `ssh`, which reads its own user's configuration and no variable.
    client = place / "bin/ssh"
    client.parent.mkdir()
    client.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {keys}/config "$@"\n')
    client.chmod(0o755)
    server = [
        "dropbear",
        "-F",
        "-E",
        "-s",
        "-r",
        str(keys / "host"),
        "-p",
        f"127.0.0.1:{port}",
        "-P",
        str(keys / "pid"),
    ]
    with _served(server, port):
        yield {"PATH": f"{client.parent}:{os.environ['PATH']}"}
    shutil.rmtree(home)


@pytest.mark.thorough("a docker daemon with the build image; `just test` has podman's address")
def test_docker_by_ssh(place: Path, docker: str, ssh: dict[str, str]) -> None:
    digest = built(place, "--engine", "docker", "--host", docker)
    assert built(place, "--engine", "docker", "--host", "ssh://there", **ssh) == digest
