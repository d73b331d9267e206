"""Ubuntu's own archives, as debootstrap's scripts name them: for those whose machine has no Ubuntu mirror."""

from __future__ import annotations

import re
from pathlib import Path

SCRIPT = Path("usr/share/debootstrap/scripts/gutsy")
_DEFAULT = re.compile(r"default_mirror\s+(http\S+)")
_MAIN = ("amd64", "i386")  # all others are in the archive of ports


def ubuntu_archive(architecture: str, root: Path = Path("/")) -> str:
    """The archive that has an architecture (Debian's name); "" where no debootstrap below ``root`` tells it."""
    try:
        addresses = _DEFAULT.findall((root / SCRIPT).read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""
    # The script also names the archive of releases that are no longer kept.
    kept = [address for address in addresses if "old-" not in address]
    return next((address for address in kept if ("ports" not in address) == (architecture in _MAIN)), "")
