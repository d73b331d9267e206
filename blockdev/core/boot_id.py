"""Which start of this machine's kernel something belongs to."""

from __future__ import annotations

from pathlib import Path


def boot_id() -> str:
    """The kernel's identifier of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
