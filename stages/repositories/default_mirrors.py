"""The distributions' own default mirrors, as the package osinfo-db and debootstrap's scripts name them.

An operating system's element says in its file ``distribution`` (one word) which one it is of.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

DATABASE = Path("usr/share/osinfo/os")
UBUNTU_SCRIPT = Path("usr/share/debootstrap/scripts/gutsy")
URL = re.compile(r"<url>\s*(https?://[^<\s]+)\s*</url>")
DEFAULT = re.compile(r"default_mirror\s+(http\S+)")


@dataclass(frozen=True)
class System:
    """Where osinfo-db speaks of a distribution: a folder, its files, and what follows the mirror's base address."""

    folder: str
    files: str
    layout: str
    below: str = ""


# By DISTRO_NAME. (Fedora and Red Hat's family have lists of their mirrors, which their elements name.)
SYSTEMS = {
    "opensuse": System("opensuse.org", "opensuse-[0-9]*.xml", "/distribution/"),
    "arch": System("archlinux.org", "archlinux-*.xml", "/iso/"),
    "alpine": System("alpinelinux.org", "alpinelinux-[0-9]*.xml", r"/v\d+\.\d+/", "/alpine"),
}


FILE = "distribution"


def _newest_first(path: Path) -> list[int]:
    return [-int(number) for number in re.findall(r"\d+", path.name)]


def _addresses(system: System, root: Path) -> Iterator[str]:
    for path in sorted((root / DATABASE / system.folder).glob(system.files), key=_newest_first):
        yield from URL.findall(path.read_text("utf-8", "replace"))


def _ubuntu(architecture: str, root: Path) -> str | None:
    try:
        found = DEFAULT.findall((root / UBUNTU_SCRIPT).read_text())
    except OSError:
        return None
    main = architecture in ("amd64", "i386")
    # The script also names the archive of releases that are no longer kept.
    kept = [address for address in found if "old-" not in address]
    return next((address for address in kept if ("ports" not in address) == main), None)


def default_mirror(name: str, architecture: str, root: Path = Path("/")) -> str | None:
    """The base address of a distribution's default mirror for an architecture (Debian's name), where it is known.

    ``name`` is a distribution as elements call it (``DISTRO_NAME``).
    """
    if name == "ubuntu":
        return _ubuntu(architecture, root)
    system = SYSTEMS.get(name)
    if system is None:
        return None
    for address in _addresses(system, root):
        found = re.search(system.layout, address) if "?" not in address else None
        if found:
            base = address[: found.start()]
            return base if base.endswith(system.below) else base + system.below
    return None


def fallbacks(elements: Iterable[Path], architecture: str, root: Path = Path("/")) -> dict[str, str]:
    """``DIB_CTR_<NAME>_MIRROR`` of the distribution that an element of these folders names, where it has a default."""
    found = {}
    for folder in elements:
        file = folder / FILE
        if file.is_file():
            name = file.read_text(encoding="utf-8").strip()
            address = default_mirror(name, architecture, root)
            if address:
                found[f"DIB_CTR_{name.upper()}_MIRROR"] = address
    return found
