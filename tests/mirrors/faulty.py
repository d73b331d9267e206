"""A mirror's server with faults, chosen by path and count; it writes down what it is asked, and serves as a proxy."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

DRIP = 0.4  # seconds between two bytes of a trickle
SMALL = 200  # bytes that a trickle has ever sent before it is given up


@dataclass
class Fault:
    """What becomes of the next ``times`` answers (-1: of all) for paths in which ``pattern`` is found.

    ``kind`` is ``status`` (with ``number``), ``cut`` (after ``number`` bytes; the length that is told is the whole
    one), ``wrong`` (the right length, other bytes), ``instead`` (``content``), ``trickle``, ``hang`` (nothing is
    answered), ``drop`` (the connection is reset).
    """

    pattern: str
    kind: str
    number: int = 0
    times: int = -1
    content: bytes = b""
    met: int = 0  # how many answers it has spoilt


@dataclass
class FaultyMirror:
    """The folder that is served, the faults that wait, and the paths that were asked for."""

    folder: Path
    faults: list[Fault] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    through: list[str] = field(default_factory=list)  # addresses that were asked for as of a proxy
    address: str = ""
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_fault(self, path: str) -> Fault | None:
        """The fault that an answer for ``path`` has; it counts as met."""
        with self.lock:
            self.asked.append(path)
            for fault in self.faults:
                if fault.met != fault.times and re.search(fault.pattern, path):
                    fault.met += 1
                    return fault
        return None

    def count(self, pattern: str) -> int:
        """How often a path was asked for in which ``pattern`` is found."""
        return sum(1 for path in self.asked if re.search(pattern, path))

    @contextlib.contextmanager
    def failing(self, *faults: Fault) -> Iterator[tuple[Fault, ...]]:
        """Have these faults while this is held."""
        self.faults = list(faults)
        try:
            yield faults
        finally:
            self.faults = []


def _spoilt(data: bytes) -> bytes:
    """Other bytes of the same length, with what formats begin with as it was."""
    middle = len(data) // 2
    return data[:middle] + bytes(255 - byte for byte in data[middle : middle + 64]) + data[middle + 64 :]


def _handler(mirror: FaultyMirror) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(body=True)

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def answer(self, *, body: bool) -> None:
            if "://" in self.path:
                mirror.through.append(self.path)
            path = unquote(urlsplit(self.path).path)
            fault = mirror.next_fault(path)
            if fault and fault.kind in FAILURES:
                FAILURES[fault.kind](self, mirror, fault)
                return
            file = mirror.folder / path.lstrip("/")
            if not file.is_file():
                self.send_error(404)
                return
            data = file.read_bytes()
            if fault and fault.kind == "wrong":
                data = _spoilt(data)
            elif fault and fault.kind == "instead":
                data = fault.content
            begun = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if begun and int(begun[1]) < len(data):  # a download goes on
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {begun[1]}-{len(data) - 1}/{len(data)}")
                data = data[int(begun[1]) :]
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("ETag", f'"{file.stat().st_mtime_ns:x}-{file.stat().st_size:x}"')
            self.end_headers()
            if not body:
                return
            with contextlib.suppress(OSError):
                _send(self, mirror, fault, data)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: ``asked`` has it."""

    return Handler


def _send(handler: BaseHTTPRequestHandler, mirror: FaultyMirror, fault: Fault | None, data: bytes) -> None:
    """The data, or as much of it, and as fast, as a fault lets through."""
    if fault and fault.kind == "trickle":
        for byte in data[:SMALL]:
            handler.wfile.write(bytes([byte]))
            if mirror.over.wait(DRIP):
                break
    else:
        handler.wfile.write(data[: fault.number] if fault and fault.kind == "cut" else data)


def _status(handler: BaseHTTPRequestHandler, _: FaultyMirror, fault: Fault) -> None:
    handler.send_error(fault.number)


def _hang(_: BaseHTTPRequestHandler, mirror: FaultyMirror, __: Fault) -> None:
    mirror.over.wait()


def _drop(handler: BaseHTTPRequestHandler, _: FaultyMirror, __: Fault) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.shutdown(socket.SHUT_RD)
    handler.connection.close()
    handler.close_connection = True


FAILURES: dict[str, Callable[[BaseHTTPRequestHandler, FaultyMirror, Fault], None]] = {
    "status": _status,
    "hang": _hang,
    "drop": _drop,
}


class _Server(ThreadingHTTPServer):
    block_on_close = False
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: clients that hang up, and connections that a fault has closed."""


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[FaultyMirror]:
    """The folder, served without faults at first."""
    mirror = FaultyMirror(folder)
    server = _Server(("127.0.0.1", 0), _handler(mirror))
    mirror.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield mirror
    finally:
        mirror.over.set()
        server.shutdown()
        server.server_close()


def refusing() -> str:
    """An address where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"
