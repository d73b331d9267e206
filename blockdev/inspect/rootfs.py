"""The name of the system on a root file system, and its fstab: ext only, read through debugfs."""

from __future__ import annotations

from blockdev.configuration.labels import EXT
from blockdev.core.tools import last_line
from blockdev.inspect.model import Content, System
from blockdev.inspect.pe import pretty_name
from blockdev.inspect.tools import ToolSandbox, Unreadable

_ABSENT = b"File not found"
_MOST = 64 << 10  # bytes of a file that are shown
# /etc/os-release is a link to the first one, and debugfs follows none.
_RELEASES = ("/usr/lib/os-release", "/etc/os-release")


def find(bench: ToolSandbox, where: str, offset: int, content: Content) -> System | None:
    """The system on a file system whose first byte is at ``offset`` of the image; None where there is none.

    Raises Unreadable where debugfs is missing or cannot read the file system.
    """
    if content.kind not in EXT:
        return None
    names = [pretty_name(_file(bench, offset, path)) for path in _RELEASES]
    name = next((text for text in names if text), "")
    fstab = _file(bench, offset, "/etc/fstab")
    return System(where, name, fstab) if name or fstab else None


def _file(bench: ToolSandbox, offset: int, path: str) -> str:
    """A file's text; empty where it is not there, or is no plain file."""
    image = f"{bench.image}?offset={offset}"
    # For a folder or a link, cat would print what its blocks hold.
    status, complaint = bench.outputs("debugfs", "-R", f"stat {path}", image)
    if not status.strip() and _ABSENT not in complaint:  # debugfs ends well whatever happened
        raise Unreadable(f"debugfs: {last_line(complaint)}")
    if b"Type: regular" not in status:
        return ""
    return bench.run("debugfs", "-R", f"cat {path}", image)[:_MOST].decode(errors="replace")
