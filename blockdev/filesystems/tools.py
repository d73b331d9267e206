"""Running the programs that write and check file systems: always in the same surroundings, errors as sentences."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from blockdev.core.errors import BuildError
from blockdev.core.tools import Arguments, last_line, run, search_path
from blockdev.filesystems.region import Region, copy_out
from blockdev.tree.selinux import Labels

_FULL = ("no space left", "could not allocate", "disk full", "too small", "out of space", "not enough", "enospc")


@dataclass(frozen=True)
class Workplace:
    """A folder for the time of one file system, and in it ``image``: a plain name for the image file.

    Several tools give a meaning to ``?``, ``@@`` or spaces in an image's name; behind the link it may have any.
    ``remarks`` takes sentences on what the file system does not keep of a tree; ``labels`` are those of SELinux.
    """

    folder: Path
    image: Path
    region: Region
    epoch: int
    remarks: list[str] = field(default_factory=list)
    labels: Labels | None = None

    def environment(self, **more: str) -> dict[str, str]:
        """What a tool sees: nothing of the caller's locale, time zone, home or configuration files."""
        now = str(max(self.epoch, 1))  # to these tools 0 is "not set"
        return {
            "PATH": search_path(),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
            "SOURCE_DATE_EPOCH": now,
            "E2FSPROGS_FAKE_TIME": now,  # e2fsprogs before 1.47.1
            "DETERMINISTIC_SEED": "1",  # xfsprogs from 6.18
            "MTOOLSRC": "/dev/null",
            **more,
        }

    def run(
        self,
        command: Arguments,
        *,
        cwd: Path | bytes | None = None,
        env: Mapping[str, str] | None = None,
        stdin: BinaryIO | None = None,
    ) -> str:
        """Run a tool and return what it printed; BuildError with its last line where it fails."""
        environment = self.environment(**(env or {}))
        done = run(command, cwd=cwd or self.folder, env=environment, stdin=stdin, together=True)
        text = done.out.decode(errors="replace")
        if done.status:
            raise self.failure(str(command[0]), text)
        return text

    def extracted(self) -> Path:
        """The region as a file of its own, for a program that knows no offset; holes stay holes."""
        target = self.folder / "extracted"
        if not self.region.offset and self.region.image.stat().st_size == self.region.length:
            return self.image
        copy_out(self.region, target)
        return target

    def failure(self, name: str, text: str) -> BuildError:
        """The error that a tool's output tells of."""
        lines = [line.strip() for line in text.splitlines()]
        full_line = next((line for line in reversed(lines) if any(sign in line.lower() for sign in _FULL)), None)
        reason = (
            (full_line or last_line(text))
            .replace(str(self.image), str(self.region.image))
            .replace(str(self.folder), "")
        )
        hint = "give the file system more room, or the tree less" if full_line else ""
        return BuildError(f"{name} could not write the file system: {reason}", where=str(self.region), hint=hint)


@contextlib.contextmanager
def workplace(region: Region, epoch: int, labels: Labels | None = None) -> Iterator[Workplace]:
    """A workplace beside the image, so that a file made in it can share its blocks with the image."""
    with tempfile.TemporaryDirectory(prefix=".filesystem-", dir=region.image.resolve().parent) as name:
        folder = Path(name)
        link = folder / "image"
        link.symlink_to(region.image.resolve())
        yield Workplace(folder, link, region, epoch, labels=labels)
