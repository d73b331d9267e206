"""The distributions' own default mirrors, as the package osinfo-db and debootstrap's scripts name them."""

import re
from collections.abc import Iterator
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


# By DISTRO_NAME.
SYSTEMS = {
    "fedora": System("fedoraproject.org", "fedora-[0-9]*.xml", "/releases/"),
    "rocky": System("rockylinux.org", "rocky-[0-9]*.xml", r"/\d+(\.\d+)?/(isos|BaseOS)/"),
    "almalinux": System("almalinux.org", "almalinux-[0-9]*.xml", r"/\d+(\.\d+)?/(isos|BaseOS)/"),
    "opensuse": System("opensuse.org", "opensuse-[0-9]*.xml", "/distribution/"),
    "arch": System("archlinux.org", "archlinux-*.xml", "/iso/"),
    "alpine": System("alpinelinux.org", "alpinelinux-[0-9]*.xml", r"/v\d+\.\d+/", "/alpine"),
}


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
    """Return the default mirror's base address of the distribution `name` for a Debian architecture, if it is known."""
    if name == "ubuntu":
        return _ubuntu(architecture, root)
    system = SYSTEMS.get(name)
    if system is None:
        return None
    secondary = name == "fedora" and architecture in ("ppc64el", "s390x")
    for address in _addresses(system, root):
        found = re.search(system.layout, address)
        if found and (name != "fedora" or ("-secondary/" in address) == secondary):
            base = address[: found.start()]
            return base if base.endswith(system.below) else base + system.below
    return None
