"""Small synthetic mirrors of every family, made of one Debian tree without kernel and boot loader: quick to make."""

from __future__ import annotations

PACKAGES = (  # of Debian, with all that they need
    *("passwd", "login", "tzdata", "gpg", "libarchive-tools"),
    *("dnf", "rpm", "zypper", "python3-minimal", "pacman-package-manager", "bash"),
)
