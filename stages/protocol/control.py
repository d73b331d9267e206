"""The line from the host to a build: it closes when the host is gone, and says when to go on after a shell."""

from __future__ import annotations

import os
import select
from dataclasses import dataclass

from blockdev.core.errors import BuildError

REFUSED = "!"  # the host's answer in place of a piece of a file or a blob: it is not to be had
CACHE_BLOB = "cache/"  # before the digest, where the host is asked for a blob of its caches


class StoppedError(Exception):
    """The host has gone away or asked to stop."""


@dataclass
class Control:
    """The line from the host: it closes when the host is gone, and carries ``continue`` after a break."""

    descriptor: int | None
    _buffer: bytes = b""
    _closed: bool = False

    def gone(self) -> bool:
        """Has the host gone away; never waits."""
        if self.descriptor is None or self._closed:
            return self._closed
        while select.select([self.descriptor], [], [], 0)[0]:
            data = os.read(self.descriptor, 4096)
            if not data:
                self._closed = True
                break
            self._buffer += data
        return self._closed

    def wait_for_continue(self) -> None:
        """Wait for the host's line; raises StoppedError where it goes away instead."""
        if self.descriptor is None:
            raise BuildError("this engine cannot stop for a shell", hint="use --engine podman, docker or host")
        self.line()

    def line(self) -> bytes:
        """The next line from the host, without its end; raises StoppedError where it goes away instead."""
        if self.descriptor is None:
            raise StoppedError
        parts, data = [], self._buffer
        while b"\n" not in data:  # (pieces of files are long lines: each byte is looked at once)
            parts.append(data)
            data = os.read(self.descriptor, 1 << 20)
            if not data:
                raise StoppedError
        last, _, self._buffer = data.partition(b"\n")
        return b"".join((*parts, last))
