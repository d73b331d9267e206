"""Checksum files beside outputs: which there may be, where they lie, and what is in them."""

from __future__ import annotations

from pathlib import Path

CHECKSUMS = ("sha256", "md5")


def beside(target: Path, name: str) -> Path:
    """Where the checksum file of an output lies: IMAGE.sha256."""
    return target.with_name(f"{target.name}.{name}")


def line(digest: str, name: str) -> bytes:
    """A line as sha256sum(1) and md5sum(1) read it; a name's backslashes and line breaks are escaped, as it says."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if escaped == name else chr(92)}{digest}  {escaped}\n".encode(errors="surrogateescape")
