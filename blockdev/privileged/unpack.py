"""The finished tree, unpacked into the mounted file systems."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from blockdev.core.errors import BuildError
from blockdev.core.tools import FailedError, output_of, run


def unpack(tree: Path, root: Path) -> None:
    """Put a tree, a tar file or a folder, into the mounted file systems: owners by number, all attributes."""
    # /boot/efi is a FAT, which keeps no attributes; of what it cannot keep tar warns, and goes on.
    kept = ["--xattrs", "--xattrs-include=*", "--acls", "--numeric-owner", "--directory"]
    out = ["tar", "--extract", "--same-owner", "--same-permissions", *kept, str(root), "--file"]
    if tree.is_dir():
        out.append("-")
        packing = ["tar", "--create", "--sparse", *kept, str(tree), "--file", "-", "."]
        try:
            with output_of(packing) as packed:
                _extract(out, packed)
        except FailedError as error:
            raise BuildError(f"the tree could not be read: {_last(str(error).encode())}", where=str(tree)) from error
        return
    _extract([*out, str(tree)])


def _extract(command: list[str], source: BinaryIO | None = None) -> None:
    done = run(command, stdin=source)
    if done.status:
        full = next((line for line in done.errors.splitlines() if "No space left" in line), "")
        hint = "make the image (--image-size) or this part of it larger" if full else ""
        raise BuildError(f"the tree could not be unpacked: {full or _last(done.err)}", hint=hint)


def _last(output: bytes) -> str:
    lines = [
        line for line in output.decode(errors="replace").strip().splitlines() if "Exiting with failure" not in line
    ]
    return lines[-1] if lines else "no reason given"
