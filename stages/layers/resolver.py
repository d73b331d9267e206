"""How names are resolved while a stage runs: a service of where the build runs, never part of a layer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blockdev.core import rooted_path


def resolv_conf() -> bytes:
    """The build container's own resolver configuration: a service of where the build runs, never part of a layer."""
    try:
        return Path("/etc/resolv.conf").read_bytes()
    except OSError:
        return b""


@contextmanager
def resolving(tree: Path, content: bytes, *, also_missing: bool = False) -> Iterator[None]:
    """Have names resolved in the tree while the context lasts: its empty resolv.conf has ``content``.

    A plain file, which a script can replace or remove, as in diskimage-builder. It is empty afterwards, also where
    a bootstrap took it over from the build container: no layer has it. ``also_missing``: make it where there is none.
    """
    file = (rooted_path.inside(tree, "etc") or tree / "etc") / "resolv.conf"
    if content and also_missing and file.parent.is_dir() and not os.path.lexists(file):
        file.touch()
    if content and rooted_path.is_regular(file) and file.stat().st_size == 0:
        file.write_bytes(content)
    try:
        yield
    finally:
        file = (
            rooted_path.inside(tree, "etc") or tree / "etc"
        ) / "resolv.conf"  # a script may have made links meanwhile
        if content and rooted_path.is_regular(file) and file.read_bytes() == content:
            os.truncate(file, 0)
