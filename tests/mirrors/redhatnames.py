"""What Fedora and Red Hat's family call the packages that a synthetic mirror has, by the Debian package's name.

Names that are not here stay as they are in Debian. Several of one name become one package.
"""

from __future__ import annotations

NAMES = {
    "base-files": "filesystem",
    "base-passwd": "setup",
    "bsdutils": "util-linux",
    "dbus-bin": "dbus",
    "dbus-daemon": "dbus",
    "dbus-session-bus-common": "dbus",
    "dbus-system-bus-common": "dbus",
    "dracut-core": "dracut",
    "dracut-install": "dracut",
    "fdisk": "util-linux",
    "grub-common": "grub2-tools",
    "grub-efi-amd64-bin": "grub2-efi-x64-modules",
    "grub-pc-bin": "grub2-pc-modules",
    "grub2-common": "grub2-tools",
    "iproute2": "iproute",
    "libc-bin": "glibc-common",
    "libc6": "glibc",
    "libpam-systemd": "systemd-pam",
    "libsystemd-shared": "systemd",
    "login": "util-linux",
    "login.defs": "shadow-utils",
    "mawk": "gawk",
    "mount": "util-linux-core",
    "network-manager": "NetworkManager",
    "openssh-client": "openssh-clients",
    "passwd": "shadow-utils",
    "procps": "procps-ng",
    "rpm-common": "rpm",
    "systemd-sysv": "systemd",
    "udev": "systemd-udev",
    "xz-utils": "xz",
}
# Debian's own package management; nothing else needs it once its scripts are done.
LEFT_OUT = frozenset(
    "apt debconf debian-archive-keyring dpkg libapt-pkg7.0 libdebconfclient0 linux-image-cloud-amd64 sqv ucf".split()  # noqa: SIM905
)
# What the Debian tree must have for `vm`, GRUB and dnf.
WANTED = (
    *("systemd-sysv", "libpam-systemd", "udev", "dbus", "kmod", "login", "passwd", "iproute2", "procps", "tzdata"),
    *("e2fsprogs", "linux-image-cloud-amd64", "dracut-core", "grub2-common", "grub-pc-bin", "grub-efi-amd64-bin"),
    *("openssh-server", "sudo", "ca-certificates", "cloud-init", "dnf", "rpm", "network-manager", "cpio", "zstd"),
)
# What the distributions' packages need and Debian takes for granted, as it is essential there.
MORE_NEEDS = {
    "dracut": ("cpio", "findutils", "grep", "gzip", "kmod", "sed", "systemd-udev", "util-linux", "zstd"),
    "kernel-core": ("dracut", "systemd-udev"),
}
# Packages without files of their own: what they stand for is in another one here.
EMPTY = ("efibootmgr", "glibc-minimal-langpack")
