"""The EFI programs on a FAT file system, read through mtools."""

from __future__ import annotations

import os
from pathlib import Path

from blockdev.inspect import pe
from blockdev.inspect.bytes_view import File, View
from blockdev.inspect.model import Loader
from blockdev.inspect.tools import ToolSandbox, Unreadable

_EMPTY = 'File "::" not found'  # mdir's complaint about a root folder with nothing in it
_MOST = 100  # programs of one file system


def loaders(bench: ToolSandbox, partition: int, offset: int) -> list[Loader]:
    """All ``*.efi`` of the FAT at byte ``offset`` of the image, in the order of their paths.

    Raises Unreadable where mtools is missing or cannot read the file system.
    """
    image = f"{bench.image}@@{offset}"
    try:
        listed = bench.run("mdir", "-/", "-b", "-i", image, "::").decode(errors="surrogateescape")
    except Unreadable as error:
        if str(error).endswith(_EMPTY):
            return []
        raise
    paths = sorted(line.removeprefix("::/") for line in listed.splitlines() if line.lower().endswith(".efi"))
    return [_loader(bench, partition, image, path) for path in paths[:_MOST]]


def _loader(bench: ToolSandbox, partition: int, image: str, path: str) -> Loader:
    shown = path.encode(errors="surrogateescape").decode(errors="replace")
    target = bench.folder / "program.efi"
    target.unlink(missing_ok=True)
    escaped = "".join(f"\\{letter}" if letter in "\\[]*?" else letter for letter in path)
    try:
        bench.run("mcopy", "-n", "-i", image, f"::/{escaped}", target)
        return _described(target, partition, shown)
    except (Unreadable, OSError) as error:
        return Loader(partition, shown, "unreadable", "", signed=False, details={"error": str(error)})


def _described(file: Path, partition: int, path: str) -> Loader:
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        view = View(File(descriptor), 0, os.fstat(descriptor).st_size)
        program = pe.parse(view)
        if program is None:
            return Loader(partition, path, "no EFI program", "", signed=False)
        nature = pe.nature(program, view)
        return Loader(partition, path, nature.kind, program.machine, program.signed, nature.details)
    finally:
        os.close(descriptor)
