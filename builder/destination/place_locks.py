"""One build at a time writes to a place: a second one that is asked for the same output waits for the first."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from builder.host_state.probe_results import cache_folder


def _offset(target: Path) -> int:
    """The byte of the file of locks that stands for a place."""
    return int.from_bytes(hashlib.sha256(os.fsencode(target)).digest()[:7]) >> 1


def _lock(file: IO[bytes], target: Path, how: int) -> None:
    fcntl.lockf(file, how, 1, _offset(target))


@contextlib.contextmanager
def held(targets: Sequence[Path], on_wait: Callable[[str], None]) -> Iterator[None]:
    """While this is held no other build of this user writes to these places; ``on_wait`` hears of each that is waited
    for.

    The kernel lets go of the locks when the process ends, however it ends. Where no file of locks can be made there
    are none: the outputs still appear whole, the last one stays.
    """
    try:
        file = (cache_folder() / "places.lock").open("wb")
    except OSError:
        yield
        return
    with file:
        for target in sorted(set(targets)):  # in one order: two builds of the same places never wait for each other
            try:
                _lock(file, target, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                on_wait(f"another build writes {target}: waiting for it to end")
                _lock(file, target, fcntl.LOCK_EX)
            except OSError:  # this file system has no locks
                break
        yield
