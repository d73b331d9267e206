"""Running the programs that write and check file systems: always in the same surroundings, errors as sentences."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from blockdev.core.errors import BuildError
from blockdev.filesystems.region import Region, copy_out
from blockdev.tree.selinux import Labels

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
_FULL = ("no space left", "could not allocate", "disk full", "too small", "out of space", "not enough", "enospc")
Arguments = Sequence[str | bytes | Path]


def _path() -> str:
    return os.pathsep.join((os.environ.get("PATH", os.defpath), *_SYSTEM))


def find(name: str) -> str:
    """Where a tool is; BuildError with the package to install where it is not."""
    found = shutil.which(name, path=_path())
    if found is None:
        raise BuildError(
            f"{name} is not installed, and this image needs it",
            hint=f"install the package {PACKAGES.get(name, name)}, or use an engine with a build image",
        )
    return found


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
            "PATH": _path(),
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
        name = str(command[0])
        done = subprocess.run(
            [find(name), *command[1:]],
            cwd=cwd or self.folder,
            env=self.environment(**(env or {})),
            stdin=stdin or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        text = done.stdout.decode(errors="replace")
        if done.returncode:
            raise self.failure(name, text)
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
        lines = [line.strip() for line in text.splitlines() if line.strip()] or ["it gave no reason"]
        told = next((line for line in reversed(lines) if any(sign in line.lower() for sign in _FULL)), None)
        said = (told or lines[-1]).replace(str(self.image), str(self.region.image)).replace(str(self.folder), "")
        hint = "give the file system more room, or the tree less" if told else ""
        return BuildError(f"{name} could not write the file system: {said}", where=str(self.region), hint=hint)


@contextlib.contextmanager
def workplace(region: Region, epoch: int, labels: Labels | None = None) -> Iterator[Workplace]:
    """A workplace beside the image, so that a file made in it can share its blocks with the image."""
    with tempfile.TemporaryDirectory(prefix=".filesystem-", dir=region.image.resolve().parent) as name:
        folder = Path(name)
        link = folder / "image"
        link.symlink_to(region.image.resolve())
        yield Workplace(folder, link, region, epoch, labels=labels)
