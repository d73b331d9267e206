"""Running programs of the system: found wherever administrators' programs are, and never at a terminal."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from blockdev.core.errors import BuildError

PACKAGES = {
    "mke2fs": "e2fsprogs",
    "debugfs": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "mkfs.vfat": "dosfstools",
    "fsck.vfat": "dosfstools",
    "mcopy": "mtools",
    "mmd": "mtools",
    "mksquashfs": "squashfs-tools",
    "unsquashfs": "squashfs-tools",
    "mkfs.erofs": "erofs-utils",
    "fsck.erofs": "erofs-utils",
    "mkfs.btrfs": "btrfs-progs",
    "btrfs": "btrfs-progs",
    "mkfs.xfs": "xfsprogs",
    "xfs_db": "xfsprogs",
    "xfs_repair": "xfsprogs",
    "cryptsetup": "cryptsetup-bin",
    "veritysetup": "cryptsetup-bin",
}
STANDARD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SYSTEM = ("/usr/local/sbin", "/usr/sbin", "/sbin")
Arguments = Sequence[str | bytes | Path]
TimeoutExpired = subprocess.TimeoutExpired


@dataclass(frozen=True)
class Done:
    """How a program ended, and what it said."""

    status: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        """What it said, as text."""
        return self.out.decode(errors="replace")

    @property
    def errors(self) -> str:
        """What it complained of, as text."""
        return self.err.decode(errors="replace")


class FailedError(Exception):
    """A program whose output was read has failed; the text is what it complained of."""


def search_path() -> str:
    """The caller's PATH, and the folders of administrators' programs."""
    return os.pathsep.join((os.environ.get("PATH", os.defpath), *_SYSTEM))


def locate(name: str) -> str | None:
    """Where a program is."""
    return shutil.which(name, path=search_path())


def find(name: str) -> str:
    """Where a program is; BuildError with the package to install where it is not."""
    path = locate(name)
    if path is None:
        raise BuildError(
            f"{name} is not installed, and this image needs it",
            hint=f"install the package {PACKAGES.get(name, name)}, or use an engine with a build image",
        )
    return path


def run(
    command: Arguments,
    *,
    data: bytes = b"",
    stdin: BinaryIO | None = None,
    stdout: BinaryIO | int | None = None,
    cwd: Path | bytes | None = None,
    env: Mapping[str, str] | None = None,
    seconds: float | None = None,
    together: bool = False,
) -> Done:
    """Run a program to its end, of which the caller makes an error; BuildError where it is not installed.

    It reads what is ``data``, or from ``stdin``, or nothing. What it prints is in ``out``, or goes to the file
    ``stdout``. ``env`` are its variables (the caller's by default). With ``together`` its errors are in ``out``, among
    the rest. ``seconds`` is how long it may take: after that there is a TimeoutExpired.
    """
    done = subprocess.run(
        [find(str(command[0])), *command[1:]],
        input=data or None,
        stdin=None if data else stdin or subprocess.DEVNULL,
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.STDOUT if together else subprocess.PIPE,
        cwd=cwd,
        env=env,
        timeout=seconds,
        check=False,
    )
    return Done(done.returncode, done.stdout or b"", done.stderr or b"")


@contextlib.contextmanager
def output_of(
    command: Arguments, *, stdin: BinaryIO | None = None, env: Mapping[str, str] | None = None
) -> Iterator[BinaryIO]:
    """What a program prints, as a stream, while it reads ``stdin`` or nothing: for more than the memory is to hold.

    BuildError where it is not installed. The context ends as the program does, with FailedError where it fails; where
    the context is left early by an exception, the program is killed.
    """
    with subprocess.Popen(
        [find(str(command[0])), *command[1:]],
        stdin=stdin or subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            yield cast("BinaryIO", process.stdout)
            complaint = process.stderr.read().decode(errors="replace").strip()
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise FailedError(complaint)


def last_line(output: bytes | str, otherwise: str = "it gave no reason") -> str:
    """The last line that has something in it, without blanks around; ``otherwise`` where there is none."""
    text = output.decode(errors="replace") if isinstance(output, bytes) else output
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else otherwise
