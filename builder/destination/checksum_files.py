"""The checksum files that come with an output."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from blockdev.core import checksum_files
from blockdev.core.checksum_files import CHECKSUMS
from blockdev.core.errors import BuildError
from stages.protocol.request import Output

ARTIFACT = "artifact"
_DIGEST = re.compile(r"[0-9a-f]{32,128}\s*\Z")


def disk_target(target: Path, disk: str, suffix: str) -> Path:
    """Where a further disk of an image at ``target`` lies: ``NAME-DISK`` and the format's suffix."""
    return target.with_name(f"{target.name.removesuffix(suffix)}-{disk}{suffix}")


def paths(output: Output, target: Path) -> list[Path]:
    """Where the checksum files lie that were asked for with an output at ``target``."""
    asked = output.options.get("checksum", "").split("+")
    return [checksum_files.beside(target, name) for name in CHECKSUMS if name in asked]


def beside(folder: Path, target: Path, suffix: str, more: Sequence[str]) -> dict[Path, bytes]:
    """The checksum files for an output that arrived in ``folder``, by the paths where they are to lie."""
    files = {}
    for disk in ("", *more):
        file = folder / (f"{ARTIFACT}-{disk}" if disk else ARTIFACT)
        path = disk_target(target, disk, suffix) if disk else target
        for name in CHECKSUMS:
            source = checksum_files.beside(file, name)
            if source.is_file():
                words = source.read_text(encoding="ascii", errors="replace").split()  # a disk's has its name, too
                digest = words[0] if words else ""
                if not _DIGEST.match(digest):
                    raise BuildError("a checksum from the build container is none", hint="run it again")
                files[checksum_files.beside(path, name)] = checksum_files.line(digest, path.name)
    return files
