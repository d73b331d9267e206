"""What RPM distributions call the packages that the synthetic mirrors make of Debian's, and what they have besides."""

from __future__ import annotations

from dataclasses import dataclass, field

# Debian's own package management, and what only it needs: no part of any of these mirrors.
LEFT_OUT = frozenset(
    "apt dpkg debconf debian-archive-keyring sqv libapt-pkg7.0 ucf libdebconfclient0 linux-image-cloud-amd64 "  # noqa: SIM905
    "deb-systemd-helper init-system-helpers".split()
)
KERNEL = "linux-image-"  # Debian's kernel packages have their version in their name
COMMON = {
    "libc6": "glibc",
    "base-files": "filesystem",
    "bsdutils": "util-linux",
    "fdisk": "util-linux",
    "systemd-sysv": "systemd",
    "libsystemd-shared": "systemd",
    "dracut-core": "dracut",
    "dracut-install": "dracut",
    "rpm-common": "rpm",
    "xz-utils": "xz",
    "mawk": "gawk",
    "python3-minimal": "python3",
}
REDHAT = {
    **COMMON,
    "libc-bin": "glibc-common",
    "base-passwd": "setup",
    "mount": "util-linux-core",
    "passwd": "shadow-utils",
    "login": "util-linux",
    "login.defs": "shadow-utils",
    "udev": "systemd-udev",
    "libpam-systemd": "systemd-pam",
    "dbus-bin": "dbus",
    "dbus-daemon": "dbus",
    "dbus-system-bus-common": "dbus",
    "dbus-session-bus-common": "dbus",
    "iproute2": "iproute",
    "procps": "procps-ng",
    "grub-common": "grub2-tools",
    "grub2-common": "grub2-tools",
    "grub-pc-bin": "grub2-pc-modules",
    "grub-efi-amd64-bin": "grub2-efi-x64-modules",
    "network-manager": "NetworkManager",
    "openssh-client": "openssh-clients",
    "cloud-guest-utils": "cloud-utils-growpart",
}
SUSE = {
    **COMMON,
    "systemd-sysv": "systemd-sysvinit",
    "libc-bin": "glibc",
    "base-passwd": "system-user-root",
    "mount": "util-linux-systemd",
    "passwd": "shadow",
    "login": "util-linux",
    "login.defs": "login_defs",
    "libpam-systemd": "systemd",
    "dbus-bin": "dbus-1",
    "dbus-daemon": "dbus-1",
    "dbus": "dbus-1",
    "dbus-system-bus-common": "dbus-1",
    "dbus-session-bus-common": "dbus-1",
    "grub-common": "grub2",
    "grub2-common": "grub2",
    "grub-pc-bin": "grub2-i386-pc",
    "grub-efi-amd64-bin": "grub2-x86_64-efi",
    "network-manager": "NetworkManager",
    "openssh-client": "openssh-clients",
    "tzdata": "timezone",
    "cloud-guest-utils": "growpart",
}


@dataclass(frozen=True)
class Distribution:
    """One distribution: its packages' names, its kernel, its release packages, its repositories' places by name.

    In ``places`` ``@R@`` is the release. The first one has all packages, the others none or those of ``elsewhere``.
    ``empty`` are packages without files, with what they require. ``database`` is where its rpm has its own.
    """

    identity: str
    names: dict[str, str]
    kernel: str
    release: str
    repos: str
    places: tuple[str, ...]
    empty: dict[str, tuple[str, ...]] = field(default_factory=dict)
    database: str = "/usr/lib/sysimage/rpm"


_REDHAT_EMPTY = {
    "util-linux-core": ("util-linux",),
    "glibc-minimal-langpack": ("glibc",),
    "kernel": ("kernel-core", "kernel-modules"),
    "kernel-modules": ("kernel-core",),
    "systemd-boot-unsigned": ("systemd",),
    "systemd-networkd": ("systemd",),
    "systemd-resolved": ("systemd",),
    "basesystem": ("filesystem",),
    "efibootmgr": (),
}
_EL_PLACES = ("@R@/BaseOS/x86_64/os", "@R@/AppStream/x86_64/os")
DISTRIBUTIONS = {
    "fedora": Distribution(
        "fedora",
        REDHAT,
        "kernel-core",
        "fedora-release",
        "fedora-repos",
        ("releases/@R@/Everything/x86_64/os", "updates/@R@/Everything/x86_64"),
        _REDHAT_EMPTY,
    ),
    "centos": Distribution(
        "centos", REDHAT, "kernel-core", "centos-stream-release", "centos-stream-repos", _EL_PLACES, _REDHAT_EMPTY
    ),
    "rocky": Distribution("rocky", REDHAT, "kernel-core", "rocky-release", "rocky-repos", _EL_PLACES, _REDHAT_EMPTY),
    "almalinux": Distribution(
        "almalinux", REDHAT, "kernel-core", "almalinux-release", "almalinux-repos", _EL_PLACES, _REDHAT_EMPTY
    ),
    "opensuse": Distribution(
        "opensuse-leap",
        SUSE,
        "kernel-default",
        "openSUSE-release",
        "openSUSE-repos-Leap",
        ("distribution/leap/@R@/repo/oss", *(f"update/leap/@R@/{part}" for part in ("oss", "backports", "sle"))),
        {
            "aaa_base": ("filesystem",),
            "ca-certificates-mozilla": ("ca-certificates",),
            "cloud-init-config-suse": (),
            "efibootmgr": (),
            "openssh": ("openssh-server", "openssh-clients"),
            "patterns-base-minimal_base": ("zypper",),
        },
    ),
}
