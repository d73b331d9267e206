"""Images of formats that qemu-img reads: made raw, unless they want to read other files."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from blockdev.convert import qemu_img
from blockdev.core.errors import BuildError

_MIB = 1 << 20
_EXTERNAL_DATA = 4  # of qcow2's incompatible features


def data_size(path: Path, driver: str, shown: Path) -> int:
    """How many bytes of an image's disk are not holes.

    BuildError where it is damaged, or only a difference to another file: then it cannot be read alone, and what it
    names may be any file of this machine.
    """
    if why := reaches_out(_start(path)):
        raise _not_whole(why, shown)
    info = json.loads(_run(["info", "--output=json", "-f", driver, _name(path)], driver, shown))
    others = _others(info, path)
    if others:
        raise _not_whole(f"it reads another file, {others[0]}", shown)
    pieces = json.loads(_run(["map", "--output=json", "-f", driver, _name(path)], driver, shown))
    return sum(piece["length"] for piece in pieces if piece["data"] and not piece["zero"])


def unpack(path: Path, driver: str, raw: Path, shown: Path) -> None:
    """Write the disk of an image as a new, sparse, raw file."""
    _run(["convert", "-f", driver, "-O", "raw", _name(path), str(raw)], driver, shown)


def unpack_begin(path: Path, driver: str, raw: Path, shown: Path, length: int) -> None:
    """Write the first ``length`` bytes of an image's disk as a new, raw, sparse file that is as long as the disk.

    BuildError as for :func:`data_size`.
    """
    if why := reaches_out(_start(path)):
        raise _not_whole(why, shown)
    info = json.loads(_run(["info", "--output=json", "-f", driver, _name(path)], driver, shown))
    if others := _others(info, path):
        raise _not_whole(f"it reads another file, {others[0]}", shown)
    count = f"count={-(-length // _MIB)}"
    _run(["dd", "-f", driver, "-O", "raw", "bs=1M", count, f"if={_name(path)}", f"of={raw}"], driver, shown)
    with raw.open("r+b") as file:
        file.truncate(info["virtual-size"])


def reaches_out(start: bytes) -> str:
    """Why an image must not even be opened, by its first 1 KiB: opening it would open files that it names.

    Empty where nothing speaks against it. QEMU's docs/interop/qcow2.txt; VMware's "Virtual Disk Format 5.0".
    """
    start = start.ljust(80, b"\0")
    if start[:4] == b"QFI\xfb":
        (backing,) = struct.unpack_from(">Q", start, 8)
        (features,) = struct.unpack_from(">Q", start, 72)
        (version,) = struct.unpack_from(">I", start, 4)
        if backing:
            return "it is only the difference to another image"
        return "its data are in another file" if version > 2 and features & _EXTERNAL_DATA else ""
    if start[:4] == b"KDMV" and not struct.unpack_from("<Q", start, 12)[0]:
        return "its data are in other files"
    return "it is only a description, its data are in other files" if start[:1] == b"#" else ""


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1024)


def _not_whole(why: str, shown: Path) -> BuildError:
    return BuildError(
        f"the image is not whole: {why}",
        where=str(shown),
        hint="make one of all its files: qemu-img convert -O qcow2 IMAGE WHOLE",
    )


def _others(info: dict[str, Any], path: Path) -> list[str]:
    """The other files that an image reads: what is behind it, and where its data are."""
    data = info.get("format-specific", {}).get("data", {})
    extents = [extent.get("filename", "") for extent in data.get("extents", ())]
    names = [info.get("backing-filename", ""), data.get("data-file", ""), *extents]
    own = {str(path), str(path.resolve()), _name(path)}
    return [name for name in names if name and name not in own]


def _name(path: Path) -> str:
    """A path that is a path to QEMU whatever colons are in it."""
    return f"file:{path.resolve()}"


def _run(arguments: list[str], driver: str, shown: Path) -> str:
    done = qemu_img.run(arguments)
    if done.status:
        kind = "vhd" if driver == "vpc" else driver
        reason = qemu_img.sentence(done.err, "it gives no reason")
        raise BuildError(f"qemu-img cannot read this {kind} image: {reason}", where=str(shown))
    return done.out.decode(errors="replace")
