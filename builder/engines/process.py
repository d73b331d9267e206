"""Talk with a command through its pipes: feed its standard input, read its lines, end it when something goes wrong."""

from __future__ import annotations

import contextlib
import fcntl
import queue
import selectors
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from blockdev.core.errors import BuildError
from builder.engines.protocol import OnLine

PIPE = 1 << 20  # bytes; what a user may ask for
CHUNK = 1 << 16  # bytes read at once
LONGEST_EVENT = 64 << 20  # bytes of a line of standard output; each kind of event has its own bound below this
LONGEST_NOISE = 1 << 16  # bytes of a line of standard error, which no program reads
TAIL = 1 << 14  # characters of standard error kept for messages
PATIENCE = 10.0  # seconds for a container to end before the next harder way


@dataclass(frozen=True)
class Finished:
    """How a command ended: exit status, and the end of what it wrote to standard error."""

    status: int
    errors: str


class Feeder:
    """Writes to a pipe from a thread of its own, so that a full pipe never stops the reading side."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while (data := self._waiting.get()) is not None:
                self._pipe.write(data)
                self._pipe.flush()
        with contextlib.suppress(OSError):
            self._pipe.close()

    def send(self, line: str) -> None:
        """Put one line in the queue."""
        self._waiting.put(line.rstrip("\n").encode() + b"\n")

    def put(self, data: bytes) -> None:
        """Put bytes in the queue."""
        self._waiting.put(data)

    def close(self) -> None:
        """Close the pipe after what is in the queue."""
        self._waiting.put(None)


class Lines:
    """Cuts one stream into lines, looking at each byte once; the last one may lack its line end.

    No line is longer than ``most`` bytes: a longer one raises BuildError where it must be ``whole`` to be of use, and
    goes on in pieces where not.
    """

    def __init__(self, most: int = LONGEST_EVENT, *, whole: bool = True) -> None:
        self._most, self._whole = most, whole
        self._begun: list[bytes] = []
        self._length = 0

    def cut(self, data: bytes) -> list[str]:
        """The lines that are whole with ``data``; empty data is the end of the stream."""
        lines = []
        *whole, rest = data.split(b"\n")
        for part in whole:
            lines += self._add(part)
            lines.append(self._taken())
        lines += self._add(rest)
        if not data and self._length:
            lines.append(self._taken())
        return lines

    def _add(self, part: bytes) -> list[str]:
        lines = []
        while self._length + len(part) > self._most:
            if self._whole:
                raise BuildError(
                    f"the build container sent a line of more than {self._most >> 20} MiB",
                    hint="something in it is broken, or means harm: what it has made was not taken",
                )
            room = self._most - self._length
            self._begun.append(part[:room])
            lines.append(self._taken())
            part = part[room:]
        if part:
            self._begun.append(part)
            self._length += len(part)
        return lines

    def _taken(self) -> str:
        line = b"".join(self._begun).decode("utf-8", "replace")
        self._begun, self._length = [], 0
        return line


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """No KeyboardInterrupt inside (a second Ctrl-C would leave the container behind)."""
    if threading.current_thread() is not threading.main_thread():  # only that one gets them
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def framed(request: bytes) -> bytes:
    """The request as the container finds it: one line with its length, then the bytes."""
    return b"%d\n" % len(request) + request


def _read(process: subprocess.Popen[bytes], on_line: OnLine, feeder: Feeder) -> str:
    assert process.stdout is not None
    assert process.stderr is not None
    tail = ""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, Lines())
        selector.register(process.stderr, selectors.EVENT_READ, Lines(LONGEST_NOISE, whole=False))
        while selector.get_map():
            for key, _ in selector.select():
                data = _read_some(key.fileobj)
                noise = key.fileobj is process.stderr
                for line in key.data.cut(data):
                    if noise:
                        tail = (tail + line + "\n")[-TAIL:]
                    on_line(line, None if noise else feeder.send)
                if not data:
                    selector.unregister(key.fileobj)
    return tail


def _read_some(pipe: object) -> bytes:
    return pipe.read1(CHUNK)  # type: ignore[attr-defined,no-any-return]


def converse(
    argv: Sequence[str],
    first: bytes,
    on_line: OnLine,
    stop: Callable[[subprocess.Popen[bytes]], None],
    environment: Mapping[str, str] | None = None,
) -> Finished:
    """Run ``argv`` in a session of its own, feed it ``first`` and call ``on_line`` with each line it prints.

    On any exception ``stop`` must end the command; the exception then goes on.
    """
    process = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # a request is some megabytes, and goes in fewer pieces
        fcntl.fcntl(process.stdin, fcntl.F_SETPIPE_SZ, PIPE)
    feeder = Feeder(process.stdin)
    try:
        feeder.put(first)
        tail = _read(process, on_line, feeder)
        return Finished(process.wait(), tail)
    except BaseException:
        with undisturbed():
            stop(process)
            end(process)
        raise
    finally:
        feeder.close()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def end(process: subprocess.Popen[bytes]) -> None:
    """Wait a while for a process that was told to end; then end it."""
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def stream(
    argv: Sequence[str],
    stop: Callable[[subprocess.Popen[bytes]], None],
    failed: Callable[[Finished], Exception],
    environment: Mapping[str, str] | None = None,
) -> Iterator[bytes]:
    """The standard output of ``argv``, in pieces; raises ``failed(...)`` where it ends with another status than 0."""
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    errors = bytearray()

    def listen(pipe: IO[bytes]) -> None:
        while data := _read_some(pipe):
            errors.extend(data)
            del errors[:-TAIL]

    listener = threading.Thread(target=listen, args=(process.stderr,), daemon=True)
    listener.start()
    try:
        while data := process.stdout.read1(1 << 20):  # type: ignore[attr-defined]
            yield data
        status = process.wait()
    except BaseException:
        with undisturbed():
            stop(process)
            end(process)
        raise
    finally:
        process.stdout.close()
    listener.join(PATIENCE)
    if status != 0:
        raise failed(Finished(status, errors.decode("utf-8", "replace")[-TAIL:]))
