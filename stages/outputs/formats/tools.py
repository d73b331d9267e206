"""Running the commands that take an archive in: umoci, gzip, zstd."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import sh

from blockdev.core.errors import BuildError
from stages.outputs.formats.tar_stream import Written

_PIPE_BYTES = 1 << 20


def command(name: str, folder: Path, **more: str) -> Any:
    """The command ``name``, in ``folder`` and blind to the caller's locale and time zone; ``more`` are variables."""
    try:
        program = sh.Command(name)
    except sh.CommandNotFound as error:
        raise BuildError(
            f"{name} is not installed, and this output needs it",
            hint=f"install {name}, or use an engine with a build image",
        ) from error
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC", "HOME": str(folder), **more}
    return program.bake(_cwd=str(folder), _env=environment, _tty_out=False)


@contextlib.contextmanager
def explained(name: str) -> Iterator[None]:
    """Turn a failure of the command into a BuildError with the sentence that it printed last."""
    try:
        yield
    except sh.ErrorReturnCode as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines() or ["it gave no reason"]
        reason = lines[-1].lstrip("\u2a2f ")  # umoci puts a cross before its errors
        raise BuildError(f"{name} could not write the output: {reason}") from error


def feed(start: Callable[..., Any], write: Callable[[BinaryIO], Written]) -> Written:
    """Start a command with a pipe as its standard input (``start(_in=..., _bg=True)``) and let ``write`` fill it.

    Both run at once. Returns what ``write`` returned. Where the command fails, raises that and not the broken pipe that
    comes of it; where ``write`` fails, ends the command.
    """
    reading, writing = os.pipe()
    try:
        running = start(_in=reading, _bg=True, _bg_exc=False)
    except BaseException:
        os.close(writing)
        raise
    finally:
        os.close(reading)
    written = Written(0, 0)
    try:
        with open(writing, "wb", buffering=_PIPE_BYTES) as pipe:  # noqa: PTH123 (a descriptor)
            with contextlib.suppress(
                PermissionError
            ):  # the user's share of pipe memory is spent: a small pipe does too
                fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            written = write(pipe)
    except BrokenPipeError:  # the command went first; wait() says why
        pass
    except BaseException:
        running.kill()
        with contextlib.suppress(sh.ErrorReturnCode):
            running.wait()
        raise
    running.wait()
    return written
