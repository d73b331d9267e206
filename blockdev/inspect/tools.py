"""Running the programs that read file systems: beside the image under a plain name, with a limit in time."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from blockdev.core.tools import PACKAGES, TimeoutExpired, last_line, locate, run, search_path

_SECONDS = 120  # a damaged file system may send a program round in circles


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
        if locate(name) is None:
            raise Unreadable(f"{name} is not installed (apt-get install {PACKAGES.get(name, name)})")
        environment = {
            "PATH": search_path(),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "HOME": str(self.folder),
            "MTOOLSRC": "/dev/null",
            "MTOOLS_SKIP_CHECK": "1",
            "DEBUGFS_PAGER": "cat",
        }
        try:
            done = run(command, cwd=self.folder, env=environment, seconds=_SECONDS)
        except TimeoutExpired:
            raise Unreadable(f"{name} came to no end in {_SECONDS} seconds") from None
        if done.status:
            raise Unreadable(f"{name}: {last_line(done.err)}")
        return done.out, done.err


@contextlib.contextmanager
def bench(image: Path) -> Iterator[ToolSandbox]:
    """A bench for a raw image, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="dib-ctr-inspect-") as name:
        folder = Path(name)
        link = folder / "image"
        link.symlink_to(image.resolve())
        yield ToolSandbox(folder, link)
