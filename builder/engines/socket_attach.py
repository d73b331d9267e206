"""A container's standard streams over an engine's API socket.

podman's SDK cannot attach at all, and docker's hides the socket; the request is one HTTP upgrade, the same for both.
Without a terminal the answer is in frames: one byte for the stream (1 output, 2 errors), three of zero, four for the
length.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import sys
import termios
import tty
from collections.abc import Iterator
from io import BufferedReader
from typing import cast

from blockdev.core.errors import BuildError
from builder.engines.protocol import EngineError

CHUNK = 1 << 18  # bytes received at once
OUTPUT, ERRORS = 1, 2


def connect(address: str) -> socket.socket:
    """A connection to ``unix:///path`` or ``tcp://host:port``; raises BuildError where nobody listens."""
    kind, _, location = address.partition("://")
    try:
        if kind in ("unix", "http+unix"):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.connect(location)
            return connection
        if kind in ("tcp", "http"):
            host, _, port = location.rstrip("/").rpartition(":")
            return socket.create_connection((host, int(port)))
    except OSError as error:
        raise BuildError(
            f"cannot connect to {address}: {error.strerror}", hint="is the engine's service running, and open to you?"
        ) from error
    raise BuildError(f"{address}: only unix:// and tcp:// sockets are known here", hint="use the engine's command line")


def attach(address: str, path: str) -> socket.socket:
    """Attach to a container: ``path`` is the API's, with its query. Returns the connection behind the answer's head."""
    connection = connect(address)
    head = f"POST {path} HTTP/1.1\r\nHost: dib-ctr\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
    connection.sendall(head.encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):  # byte by byte: what follows is the container's
        byte = connection.recv(1)
        if not byte:
            break
        answer += byte
    if answer.split(b" ", 2)[1:2] in ([b"101"], [b"200"]):
        return connection
    connection.settimeout(1)
    with connection, contextlib.suppress(OSError):
        answer += connection.recv(CHUNK)
    text = answer.decode("utf-8", "replace").strip()
    raise EngineError("socket", f"cannot attach to a container: {text.splitlines()[-1] if text else 'no answer'}", text)


def _exactly(source: BufferedReader, count: int) -> bytes:
    data = source.read(count)
    return data if len(data) == count else b""


def frames(connection: socket.socket) -> Iterator[tuple[int, bytes]]:
    """(stream, bytes) until the container ends."""
    with cast("BufferedReader", connection.makefile("rb", CHUNK)) as source:
        while head := _exactly(source, 8):
            number, length = struct.unpack(">BxxxI", head)
            while length > 0:
                data = source.read1(min(length, CHUNK))
                if not data:
                    return
                length -= len(data)
                yield number, data


def terminal_size() -> tuple[int, int]:
    """Rows and columns of the caller's terminal."""
    size = os.get_terminal_size(sys.stdin.fileno())
    return size.lines, size.columns


@contextlib.contextmanager
def _raw_terminal() -> Iterator[int]:
    """The caller's terminal, every key going through; restored afterwards."""
    terminal = sys.stdin.fileno()
    if not os.isatty(terminal):
        yield terminal
        return
    before = termios.tcgetattr(terminal)
    old = signal.signal(signal.SIGWINCH, signal.SIG_DFL)
    tty.setraw(terminal)
    try:
        yield terminal
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, old)


END_OF_INPUT = b"\x04"  # what a terminal takes for its end (Ctrl-D)


def converse_on_terminal(connection: socket.socket) -> None:
    """Copy between the caller's terminal and a container that has one, until the container ends."""
    with _raw_terminal() as terminal:
        watched: list[int] = [connection.fileno(), terminal]
        while True:
            ready, _, _ = select.select(watched, [], [])
            if connection.fileno() in ready:
                data = connection.recv(CHUNK)
                if not data:
                    return
                os.write(sys.stdout.fileno(), data)
            if terminal in ready:
                typed = os.read(terminal, CHUNK)
                if typed:
                    connection.sendall(typed)
                else:
                    watched.remove(terminal)
                    connection.sendall(END_OF_INPUT)  # (docker ends the output too where the connection is shut down)
