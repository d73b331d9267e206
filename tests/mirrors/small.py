"""Small synthetic mirrors of several families, made of one Debian tree without kernel and boot loader: soon made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.mirrors import pacman, rpm
from tests.mirrors.debian import DebianTree

PACKAGES = (  # of Debian, with all that they need
    *("passwd", "login", "tzdata", "gpg", "libarchive-tools", "sudo", "ca-certificates", "hostname"),
    *("dnf", "rpm", "zypper", "python3-minimal", "pacman-package-manager", "bash"),
)


@dataclass(frozen=True)
class Family:
    """A family's distribution, what its mirror has where (patterns of paths), and how its tool tells of a transaction.

    ``more`` is a package besides :data:`EXTRA` that its bootstrap does not install.
    """

    name: str
    element: str
    index: str  # what the tool reads after the signed index
    signed: str  # the index that the plan reads
    package: str
    transaction: str
    more: str


EXTRA = pacman.EXTRA
FAMILIES = {
    family.name: family
    for family in (
        Family(
            "fedora",
            "fedora-minimal",
            "os/repodata/.*primary",
            "repomd.xml$",
            "/bash-.*rpm$",
            "Transaction Summary",
            "zypper",
        ),
        Family(
            "opensuse",
            "opensuse-minimal",
            "oss/repodata/.*primary",
            "repomd.xml$",
            "/bash-.*rpm$",
            "NEW packages",
            "dnf",
        ),
        Family("arch", "arch-minimal", "core.db$", "core.db$", "/bash-.*zst$", "Processing package changes", "zypper"),
    )
}


def make(family: Family, folder: Path, tree: DebianTree) -> Mapping[str, str]:
    """Make the mirror in ``folder``; the settings for builds from it, but for its address."""
    if family.name == "arch":
        made = pacman.make(folder, tree)
        return {"DIB_ARCH_KEYRING": str(made.keyring), "DIB_ARCH_REVOKED": ""}
    release = {"fedora": "43", "opensuse": "15.6"}[family.name]
    mirror = rpm.make(folder, family.name, release, tree)
    return {"DIB_RELEASE": release, "DIB_RPM_KEYS": str(mirror.key)}
