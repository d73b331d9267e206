"""A small process that starts a build's sandboxes.

What a fork costs grows with the process that forks, and a sandbox takes several. So the build container's program
forks this one while it is itself still small, and has it start each sandbox; it goes away with its parent.
"""

from __future__ import annotations

import gc
import json
import os
import pickle
import select
import signal
import socket
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from blockdev.core import syscalls
from blockdev.core.errors import BuildError
from blockdev.core.typed_json import read
from stages.sandbox import process
from stages.sandbox.seccomp import supervisor as listener
from stages.sandbox.view import View

_LENGTH = struct.Struct("!Q")


@dataclass
class Running:
    """A sandbox that was started: ``handle`` is a descriptor of its first process (pidfd_open(2))."""

    handle: int
    _channel: socket.socket

    def has_ended(self) -> bool:
        """Whether its first process has ended, and so all others of it."""
        return bool(select.select([self.handle], [], [], 0)[0])

    def kill(self) -> None:
        """End all its processes."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.handle, signal.SIGKILL)

    def end(self) -> tuple[int, Mapping[str, int]]:
        """Wait for its end: the exit status (128 + signal number), and how many calls of each kind were answered."""
        os.close(self.handle)
        return read(tuple[int, dict[str, int]], json.loads(_receive(self._channel)))


class Spawner:
    """The process, as its parent knows it. It starts one sandbox at a time."""

    def __init__(self) -> None:
        self._parent = os.getpid()
        self._channel, theirs = socket.socketpair()
        parent = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            try:
                syscalls.die_with_parent()
                self._channel.close()
                _serve(theirs, parent)
            finally:
                os._exit(1)
        theirs.close()
        os.close(parent)

    @property
    def is_ours(self) -> bool:
        """False in a fork of the process that made it."""
        return self._parent == os.getpid()

    def start(
        self, view: View, argv: Sequence[str], environment: Mapping[str, str], output: int, report: int | None
    ) -> Running:
        """Start a sandbox; see ``stages.sandbox.process.start``. Raises BuildError."""
        message = pickle.dumps((view, list(argv), dict(environment), report is not None))
        descriptors = [output] if report is None else [output, report]
        try:
            socket.send_fds(self._channel, [_LENGTH.pack(len(message))], descriptors)
            self._channel.sendall(message)
            header, received, _, _ = socket.recv_fds(self._channel, _LENGTH.size, 1)
            if received:
                return Running(received[0], self._channel)
            reason = (
                _exactly(self._channel, *_LENGTH.unpack(header)).decode("utf-8", "replace") if header else "it ended"
            )
        except OSError as error:
            reason = str(error)
        raise BuildError(
            f"no process could be started for a stage: {reason}",
            where="build container",
            hint="is the machine out of memory or processes? `dib-ctr doctor` tries the engine",
        )


_spawner: Spawner | None = None


def ready() -> Spawner:
    """The process's spawner; made at the first call, which should come early, and from a thread that stays."""
    global _spawner
    if _spawner is None or not _spawner.is_ours:
        _spawner = Spawner()
    return _spawner


# -- in the spawner ------------------------------------------------------------------------------------------------


def _serve(channel: socket.socket, namespace: int) -> None:
    """Start what is asked for, and tell how each has ended; until the other end is closed."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the build ends it
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):  # the host's line and the events are the parent's
        os.dup2(null, descriptor)
    gc.freeze()  # in its forks nothing looks through what was there before: each page looked at would be copied
    while True:
        header, descriptors, _, _ = socket.recv_fds(channel, _LENGTH.size, 2)
        if not header:
            return
        view, argv, environment, reports = pickle.loads(_exactly(channel, *_LENGTH.unpack(header)))
        output, report = descriptors[0], descriptors[1] if reports else None
        supervisor = listener.start(output, short=view.short_places) if view.supervised else None
        wires = process.Wires(output, report, supervisor.channel if supervisor else None)
        try:
            first = process.start(view, argv, environment, namespace, wires)
            handle = os.pidfd_open(first)
        except OSError as error:
            if supervisor:
                supervisor.end()
            _send(channel, str(error).encode())
            continue
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        socket.send_fds(channel, [bytes(_LENGTH.size)], [handle])
        os.close(handle)
        status = process.wait(first)
        _send(channel, json.dumps([status, supervisor.end() if supervisor else {}]).encode())


# -- both ----------------------------------------------------------------------------------------------------------


def _send(channel: socket.socket, message: bytes) -> None:
    channel.sendall(_LENGTH.pack(len(message)) + message)


def _receive(channel: socket.socket) -> bytes:
    return _exactly(channel, *_LENGTH.unpack(_exactly(channel, _LENGTH.size)))


def _exactly(channel: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = channel.recv(min(length - len(data), 1 << 20))
        if not part:
            raise BuildError(
                "what starts a build's stages has ended",
                where="build container",
                hint="was it killed for lack of memory? `dib-ctr doctor` tries the engine",
            )
        data += part
    return bytes(data)
