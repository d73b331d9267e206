"""Checksum files beside outputs, as sha256sum(1) and md5sum(1) read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stages.request import CHECKSUMS

ARTIFACT = "artifact"


def disk_target(target: Path, disk: str, suffix: str) -> Path:
    """Where a further disk of an image at ``target`` lies: ``NAME-DISK`` and the format's suffix."""
    return target.with_name(f"{target.name.removesuffix(suffix)}-{disk}{suffix}")


def beside(folder: Path, target: Path, suffix: str, more: Sequence[str]) -> dict[Path, bytes]:
    """The checksum files for an output that arrived in ``folder``, by the paths where they are to lie."""
    found = {}
    for disk in ("", *more):
        file = folder / (f"{ARTIFACT}-{disk}" if disk else ARTIFACT)
        place = disk_target(target, disk, suffix) if disk else target
        for name in CHECKSUMS:
            source = file.with_name(f"{file.name}.{name}")
            if source.is_file():
                digest = source.read_text(encoding="ascii").split()[0]
                found[place.with_name(f"{place.name}.{name}")] = f"{digest}  {place.name}\n".encode()
    return found
