"""A registry on loopback, Debian's docker-registry, with passwords, failures and a log of requests."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.integration.engine_cases import missing

WAIT = 20.0  # seconds
USER, PASSWORD = "tester", "right"
# bcrypt of PASSWORD, cost 5
HTPASSWD = "tester:$2b$05$.G6Bqo4h41c061EF5A9vae6mWVXoUrKI2F2aq/gHn1FtyJb36PC56\n"


@dataclass
class Running:
    """A registry that answers at ``host``; ``log`` is what it and its requests wrote."""

    host: str
    folder: Path
    process: subprocess.Popen[bytes]

    def requests(self, method: str) -> list[str]:
        """The paths of the requests of this method so far."""
        found = []
        for line in (self.folder / "log").read_text(errors="replace").splitlines():
            part = line.partition(f'"{method} ')[2]
            if part and line.startswith(("127.0.0.1", "[::1]", "::1")):
                found.append(part.partition(" ")[0])
        return found


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@contextlib.contextmanager
def registry(folder: Path, *, password: bool = False) -> Iterator[Running]:
    """A registry with its data in ``folder``."""
    program = shutil.which("docker-registry")
    if program is None:
        missing("there is no docker-registry")
    port = free_port()
    (folder / "data").mkdir(parents=True)
    config: dict[str, object] = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    if password:
        (folder / "htpasswd").write_text(HTPASSWD)
        config["auth"] = {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}}
    (folder / "config.yml").write_text(json.dumps(config))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([str(program), "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    running = Running(f"localhost:{port}", folder, process)
    try:
        _await(port, process)
        yield running
    finally:
        process.terminate()
        process.wait(WAIT)


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + WAIT
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                missing("docker-registry does not start here")
            time.sleep(0.05)
        else:
            return


@dataclass
class Flaky:
    """A way to a registry that answers 503 to the first ``failures`` uploads."""

    host: str
    failures: int
    failed: list[str] = field(default_factory=list)


@contextlib.contextmanager
def flaky(target: str, failures: int) -> Iterator[Flaky]:
    """A proxy in front of the registry at ``target`` (host and port) that fails at first."""
    state = Flaky("", failures)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def _pass(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length) if length else self._chunks()
            if self.command in ("POST", "PUT", "PATCH") and len(state.failed) < state.failures:
                state.failed.append(self.path)
                self.send_response(503)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            onward = http.client.HTTPConnection(target, timeout=WAIT)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "transfer-encoding"}
            onward.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
            answer = onward.getresponse()
            data = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                    self.send_header(name, value)
            self.send_header("Content-Length", answer.getheader("Content-Length", str(len(data))))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def _chunks(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                return b""
            data = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _pass  # noqa: N815 (the library's names)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.host = f"localhost:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
