"""What a build says, line by line with its time, into a log file and, if that is wanted, where it went before."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path


def stamped(line: bytes, at: datetime) -> bytes:
    """A line with its time in UTC before it, as diskimage-builder's log files have it."""
    return f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} | ".encode() + line


@contextlib.contextmanager
def logged(logfile: str, *, quiet: bool) -> Iterator[None]:
    """Add standard output and error to a log file while the context lasts; without one nothing changes."""
    if not logfile:
        yield
        return
    Path(logfile).absolute().parent.mkdir(parents=True, exist_ok=True)
    with Path(logfile).open("ab") as log:
        reader, writer = os.pipe()
        before = [os.dup(number) for number in (1, 2)]

        def copy() -> None:
            with os.fdopen(reader, "rb") as lines:
                for line in lines:
                    log.write(stamped(line.rstrip(b"\n"), datetime.now(UTC)) + b"\n")
                    log.flush()
                    if not quiet:
                        os.write(before[0], line)

        thread = threading.Thread(target=copy)
        for number in (1, 2):
            os.dup2(writer, number)
        os.close(writer)
        thread.start()
        try:
            yield
        finally:
            for number, old in zip((1, 2), before, strict=True):
                os.dup2(old, number)
            thread.join()
            for old in before:
                os.close(old)
