"""The name of the system on a root file system, and its fstab: ext only, read through debugfs."""

from __future__ import annotations

from collections.abc import Sequence

from blockdev.inspect.model import Content, System
from blockdev.inspect.pe import pretty_name
from blockdev.inspect.programs import Bench

KINDS = frozenset({"ext2", "ext3", "ext4"})
_MOST = 64 << 10  # bytes of a file that are shown
# /etc/os-release is a link to the first one, and debugfs follows none.
_RELEASES = ("/usr/lib/os-release", "/etc/os-release")


def find(bench: Bench, volumes: Sequence[tuple[str, int, Content]]) -> System | None:
    """The first of the volumes (where, first byte in the image, content) that has a system on it.

    Raises Unreadable where debugfs is missing or cannot read a file system.
    """
    for where, offset, content in volumes:
        if content.kind not in KINDS:
            continue
        names = [pretty_name(_file(bench, offset, path)) for path in _RELEASES]
        name = next((one for one in names if one), "")
        fstab = _file(bench, offset, "/etc/fstab")
        if name or fstab:
            return System(where, name, fstab)
    return None


def _file(bench: Bench, offset: int, path: str) -> str:
    """A file's text; empty where it is not there, or is no plain file."""
    image = f"{bench.image}?offset={offset}"
    # For a folder or a link, cat would print what its blocks hold.
    status = bench.run("debugfs", "-R", f"stat {path}", image).decode(errors="replace")
    if "Type: regular" not in status:
        return ""
    return bench.run("debugfs", "-R", f"cat {path}", image)[:_MOST].decode(errors="replace")
