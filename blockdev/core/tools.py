"""Running programs of the system: found wherever administrators' programs are, and never at a terminal."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

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
_SYSTEM = ("/usr/local/sbin", "/usr/sbin", "/sbin")
Arguments = Sequence[str | bytes | Path]


@dataclass(frozen=True)
class Done:
    """How a program ended, and what it said."""

    status: int
    out: bytes
    err: bytes


def search_path() -> str:
    """The caller's PATH, and the folders of administrators' programs."""
    return os.pathsep.join((os.environ.get("PATH", os.defpath), *_SYSTEM))


def locate(name: str) -> str | None:
    """Where a program is."""
    return shutil.which(name, path=search_path())


def find(name: str) -> str:
    """Where a program is; BuildError with the package to install where it is not."""
    found = locate(name)
    if found is None:
        raise BuildError(
            f"{name} is not installed, and this image needs it",
            hint=f"install the package {PACKAGES.get(name, name)}, or use an engine with a build image",
        )
    return found


def run(
    command: Arguments,
    *,
    given: bytes = b"",
    stdin: BinaryIO | None = None,
    cwd: Path | bytes | None = None,
    env: Mapping[str, str] | None = None,
    seconds: float | None = None,
    together: bool = False,
) -> Done:
    """Run a program to its end, of which the caller makes an error; BuildError where it is not installed.

    It reads what is ``given``, or from ``stdin``, or nothing. ``env`` are its variables (the caller's by default). With
    ``together`` its errors are in ``out``, among the rest. ``seconds`` is how long it may take: after that there is a
    subprocess.TimeoutExpired.
    """
    done = subprocess.run(
        [find(str(command[0])), *command[1:]],
        input=given or None,
        stdin=None if given else stdin or subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if together else subprocess.PIPE,
        cwd=cwd,
        env=env,
        timeout=seconds,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr or b"")


def last_line(said: bytes | str, otherwise: str = "it gave no reason") -> str:
    """The last line that has something in it, without blanks around; ``otherwise`` where there is none."""
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else otherwise
