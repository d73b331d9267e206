"""A registry on loopback, Debian's docker-registry, with passwords, failures and a log of requests."""

from __future__ import annotations

import base64
import contextlib
import http.client
import http.server
import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

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
def registry(folder: Path, *, password: bool = False, certificate: bool = False) -> Iterator[Running]:
    """A registry with its data in ``folder``; with ``certificate`` it speaks TLS, for which nobody but itself vouches.

    That certificate is ``folder/certificate.crt``.
    """
    program = shutil.which("docker-registry")
    if program is None:
        missing("there is no docker-registry")
    port = free_port()
    (folder / "data").mkdir(parents=True)
    http: dict[str, object] = {"addr": f"127.0.0.1:{port}"}
    if certificate:
        http["tls"] = certify(folder)
    config: dict[str, object] = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": http,
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


def certify(folder: Path) -> dict[str, str]:
    """A certificate of its own for this machine, as docker-registry is told of it."""
    files = {"certificate": str(folder / "certificate.crt"), "key": str(folder / "certificate.key")}
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subprocess.run(
        [*made, *name, "-keyout", files["key"], "-out", files["certificate"]], check=True, capture_output=True
    )
    return files


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


@dataclass(frozen=True)
class Asked:
    """A request at a proxy."""

    method: str
    path: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """What a proxy answers by itself."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int = -1  # the connection ends after so many bytes of the body (-1: all of it, and it stays)


@contextlib.contextmanager
def proxy(
    target: str,
    answer: Callable[[Asked], Answer | None],
    changed: Callable[[Asked, Answer], Answer] = lambda _, answered: answered,
) -> Iterator[str]:
    """A way to the registry at ``target`` (host and port) that answers by itself where ``answer`` does; its address.

    ``changed`` may make something else of what the registry answers.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def _pass(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length) if length else self._chunks()
            own = answer(Asked(self.command, self.path, dict(self.headers.items())))
            self._answer(own or changed(Asked(self.command, self.path, {}), self._onward(body)))

        def _onward(self, body: bytes) -> Answer:
            onward = http.client.HTTPConnection(target, timeout=WAIT)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "transfer-encoding"}
            onward.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
            answered = onward.getresponse()
            hop = ("transfer-encoding", "connection", "date", "server")
            passed = {name: value for name, value in answered.getheaders() if name.lower() not in hop}
            return Answer(answered.status, passed, answered.read())

        def _answer(self, given: Answer) -> None:
            if given.status == 0:  # nothing at all comes back
                self.close_connection = True
                return
            self.send_response(given.status)
            for name, value in {"Content-Length": str(len(given.body)), **given.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(given.body if given.cut < 0 else given.body[: given.cut])
            if given.cut >= 0:
                self.close_connection = True

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
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"localhost:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class Failing:
    """Answers 503 to the first ``failures`` requests of these methods whose path has ``part`` in it."""

    failures: int
    methods: tuple[str, ...] = ("POST", "PUT", "PATCH")
    part: str = ""
    failed: list[str] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Answer | None:
        """The answer, or None where the registry is to answer."""
        if asked.method not in self.methods or self.part not in asked.path or len(self.failed) >= self.failures:
            return None
        self.failed.append(asked.path)
        return Answer(503)


@dataclass
class Holding:
    """Never answers (until the test lets go) a request of this method whose path has ``part`` in it."""

    method: str
    part: str
    held: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)

    def __call__(self, asked: Asked) -> Answer | None:
        """The answer, or None where the registry is to answer."""
        if asked.method != self.method or self.part not in asked.path or self.let_go.is_set():
            return None
        self.held.set()
        self.let_go.wait(WAIT)
        return Answer(503)


@dataclass
class Issuing:
    """Lets only those in who bring a token, and issues one for what USER with PASSWORD asks for.

    As registries with a token service do; ``host`` is where the proxy listens.
    """

    host: str = ""
    issued: list[str] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Answer | None:
        """The answer, or None where the registry is to answer."""
        place = urlsplit(asked.path)
        brought = asked.headers.get("Authorization", "")
        if place.path == "/token":
            secret = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            if brought != f"Basic {secret}":
                return Answer(401)
            scope = parse_qs(place.query).get("scope", [""])[0]
            self.issued.append(scope)
            return Answer(200, {"Content-Type": "application/json"}, json.dumps({"token": scope or "none"}).encode())
        name = re.match(r"/v2/(.+)/(?:manifests|blobs|referrers)/", place.path)
        wanted = "pull" if asked.method in ("GET", "HEAD") else "push"
        kind, _, rest = brought.partition(" ")[2].partition(":")
        repository, _, actions = rest.rpartition(":")
        granted = kind == "repository" and name and repository == name[1] and wanted in actions.split(",")
        if granted or (not name and brought.startswith("Bearer ")):
            return None
        scope = f',scope="repository:{name[1]}:{"pull" if wanted == "pull" else "pull,push"}"' if name else ""
        return Answer(401, {"WWW-Authenticate": f'Bearer realm="http://{self.host}/token",service="tests"{scope}'})
