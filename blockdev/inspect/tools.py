"""Running the programs that read file systems: beside the image under a plain name, with a limit in time."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from blockdev.filesystems.tools import PACKAGES

_SECONDS = 120  # a damaged file system may send a program round in circles
_SYSTEM = ("/usr/local/sbin", "/usr/sbin", "/sbin")


class Unreadable(Exception):  # noqa: N818 - it says what it is about, and never gets out of this package
    """A program could not read a file system, or is not there; the text is a sentence for the remarks."""


@dataclass(frozen=True)
class ToolSandbox:
    """A folder for passing files, and in it ``image``: a name for the raw image that means nothing to any program."""

    folder: Path
    image: Path

    def run(self, *command: str | Path) -> bytes:
        """What a program printed. Raises Unreadable where it fails, takes too long or is not installed."""
        return self.outputs(*command)[0]

    def outputs(self, *command: str | Path) -> tuple[bytes, bytes]:
        """What a program printed, and what it complained of; raises what :meth:`run` does."""
        name = str(command[0])
        path = os.pathsep.join((os.environ.get("PATH", os.defpath), *_SYSTEM))
        found = shutil.which(name, path=path)
        if found is None:
            raise Unreadable(f"{name} is not installed (apt-get install {PACKAGES.get(name, name)})")
        environment = {
            "PATH": path,
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "HOME": str(self.folder),
            "MTOOLSRC": "/dev/null",
            "MTOOLS_SKIP_CHECK": "1",
            "DEBUGFS_PAGER": "cat",
        }
        try:
            done = subprocess.run(
                [found, *command[1:]],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                timeout=_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise Unreadable(f"{name} came to no end in {_SECONDS} seconds") from None
        if done.returncode:
            raise Unreadable(f"{name}: {last(done.stderr)}")
        return done.stdout, done.stderr


def last(said: bytes) -> str:
    """The last line that has something in it."""
    lines: Sequence[str] = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it gave no reason"


@contextlib.contextmanager
def bench(image: Path) -> Iterator[ToolSandbox]:
    """A bench for a raw image, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="dib-ctr-inspect-") as name:
        folder = Path(name)
        link = folder / "image"
        link.symlink_to(image.resolve())
        yield ToolSandbox(folder, link)
