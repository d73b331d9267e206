"""Images of formats that qemu-img reads: made raw, unless they want to read other files."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from blockdev.convert.qemu_img import environment, program
from stages.errors import BuildError


def data_size(path: Path, driver: str, shown: Path) -> int:
    """How many bytes of an image's disk are not holes.

    BuildError where it is damaged, or only a difference to another file: then it cannot be read alone, and what it
    names may be any file of this machine.
    """
    found = json.loads(_run(["info", "--output=json", "-f", driver, _name(path)], driver, shown))
    others = _others(found, path)
    if others:
        raise BuildError(
            f"the image is not whole: it reads another file, {others[0]}",
            where=str(shown),
            hint="make one of both: qemu-img convert -O qcow2 IMAGE WHOLE",
        )
    pieces = json.loads(_run(["map", "--output=json", "-f", driver, _name(path)], driver, shown))
    return sum(piece["length"] for piece in pieces if piece["data"] and not piece["zero"])


def unpack(path: Path, driver: str, raw: Path, shown: Path) -> None:
    """Write the disk of an image as a new, sparse, raw file."""
    _run(["convert", "-f", driver, "-O", "raw", _name(path), str(raw)], driver, shown)


def _others(found: dict[str, Any], path: Path) -> list[str]:
    """The other files that an image reads: what is behind it, and where its data are."""
    data = found.get("format-specific", {}).get("data", {})
    extents = [extent.get("filename", "") for extent in data.get("extents", ())]
    named = [found.get("backing-filename", ""), data.get("data-file", ""), *extents]
    own = {str(path), str(path.resolve()), _name(path)}
    return [name for name in named if name and name not in own]


def _name(path: Path) -> str:
    """A path that is a path to QEMU whatever colons are in it."""
    return f"file:{path.resolve()}"


def _run(arguments: list[str], driver: str, shown: Path) -> str:
    done = subprocess.run(
        [program("qemu-img", "qemu-utils"), *arguments],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        said = lines[-1].removeprefix("qemu-img: ") if lines else "it gives no reason"
        kind = "vhd" if driver == "vpc" else driver
        raise BuildError(f"qemu-img cannot read this {kind} image: {said}", where=str(shown))
    return done.stdout
