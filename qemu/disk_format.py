"""Which format a disk image has. The name is believed before the content, since a guest can write into the content."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from blockdev.core.errors import BuildError, UsageError
from blockdev.core.tools import last_line, run
from qemu.machine import Disk

FORMATS = ("qcow2", "raw", "vmdk", "vdi", "vhdx", "vpc")
SUFFIXES = {
    ".qcow2": "qcow2",
    ".raw": "raw",
    ".vmdk": "vmdk",
    ".vdi": "vdi",
    ".vhdx": "vhdx",
    # A VHD of fixed size has its mark at the end, where nobody would look.
    ".vhd": "vpc",
    ".vpc": "vpc",
}
_COMPRESSED = {".zst": "unzstd", ".gz": "gunzip", ".xz": "unxz"}


def probe(path: Path) -> Disk:
    """The image with its format: the suffix's, else what qemu-img finds.

    UsageError where the file is no image that machines boot from, or where an image whose format was found by its
    content alone would have QEMU open other files: that may be a raw image with something written into it.
    """
    if not path.is_file():
        raise UsageError(f"there is no image {path}")
    if path.suffix in _COMPRESSED:
        raise UsageError(
            "a compressed image does not boot", where=str(path), hint=f"{_COMPRESSED[path.suffix]} -k {path}"
        )
    if not path.stat().st_size:
        raise UsageError("the image is empty", where=str(path))
    by_name = SUFFIXES.get(path.suffix.lower(), "")
    info = _info(path, by_name)
    if info["format"] not in FORMATS:
        raise UsageError(
            f"an image of format {info['format']} does not boot",
            where=str(path),
            hint=f"there is: {', '.join(FORMATS)}",
        )
    others = [] if by_name else _others(info, path)
    if others:
        raise UsageError(
            f"by its content this is a {info['format']} image that reads another file: {others[0]}",
            where=str(path),
            hint=f"if it is meant so, name it {path.stem}.{info['format']}; a raw image: {path.stem}.raw",
        )
    return Disk(path.resolve(), info["format"])


def _info(path: Path, by_name: str) -> dict[str, Any]:
    if not shutil.which("qemu-img"):
        raise BuildError("qemu-img is not installed", hint="apt-get install qemu-utils")
    command = ["qemu-img", "info", "--output=json", *(("-f", by_name) if by_name else ()), f"file:{path.resolve()}"]
    done = run(command)
    if done.status:
        what = f"this is no {by_name} image, though it is called so" if by_name else "qemu-img cannot read this image"
        raise UsageError(f"{what}: {last_line(done.err, 'it says nothing')}", where=str(path))
    info: dict[str, Any] = json.loads(done.out)
    return info


def _others(info: dict[str, Any], path: Path) -> list[str]:
    """The other files that an image reads: what is behind it, and where its data are."""
    data = info.get("format-specific", {}).get("data", {})
    extents = [extent.get("filename", "") for extent in data.get("extents", ())]
    names = [info.get("backing-filename", ""), data.get("data-file", ""), *extents]
    own = {str(path), str(path.resolve()), f"file:{path.resolve()}"}
    return [name for name in names if name and name not in own]
