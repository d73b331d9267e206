"""What RPM distributions call the packages that the synthetic mirrors make of Debian's, and what they have besides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tests.mirrors.uefi import ESP, MACHINES, USR, Loaders, Machine
from tests.mirrors.uefi import SUSE as SUSE_LAYOUT

# Debian's own package management, and what only it needs: no part of any of these mirrors.
LEFT_OUT = frozenset(
    "apt dpkg debconf debian-archive-keyring sqv libapt-pkg7.0 ucf libdebconfclient0 linux-image-cloud-amd64 "  # noqa: SIM905
    "linux-image-cloud-arm64 deb-systemd-helper init-system-helpers shim-signed shim-signed-common "
    "shim-helpers-amd64-signed shim-helpers-arm64-signed shim-unsigned mokutil".split()
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
    "selinux-policy-default": "selinux-policy-targeted",
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
    "grub-efi-arm64-bin": "grub2-efi-aa64-modules",
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
    "grub-efi-arm64-bin": "grub2-arm64-efi",
    "network-manager": "NetworkManager",
    "openssh-client": "openssh-clients",
    "tzdata": "timezone",
    "cloud-guest-utils": "growpart",
}


@dataclass(frozen=True)
class Distribution:
    """One distribution: its packages' names, its kernel, its release packages, its repositories' places by name.

    In ``places`` ``@R@`` is the release and ``@A@`` the architecture. The first one has all packages, the others none
    but those of ``behind``. ``empty`` are packages without files, with what they require. ``database`` is where its rpm
    has its own, and ``backend`` the only format of it that it knows. ``loaders`` is for UEFI, with ``@S@`` for the
    suffix of its programs and ``@G@`` for GRUB's platform; ``modules`` is the folder of GRUB's modules. ``base`` is the
    mirror's folder that a build is told, and ``behind`` names packages that are in the last of ``places`` alone, which
    is no part of that mirror.
    """

    identity: str
    names: dict[str, str]
    kernel: str
    release: str
    repos: str
    places: tuple[str, ...]
    empty: dict[str, tuple[str, ...]] = field(default_factory=dict)
    database: str = "/usr/lib/sysimage/rpm"
    backend: str = "sqlite"
    loaders: Loaders = field(default_factory=lambda: Loaders(ESP, "unknown", "shim-@S@", "grub2-efi-@S@"))
    machine: Machine = MACHINES["amd64"]
    modules: str = "usr/lib/grub"
    base: str = ""
    behind: tuple[str, ...] = ()


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
_SUSE_EMPTY: dict[str, tuple[str, ...]] = {
    "aaa_base": ("filesystem",),
    "ca-certificates-mozilla": ("ca-certificates",),
    "cloud-init-config-suse": (),
    "efibootmgr": (),
    "openssh": ("openssh-server", "openssh-clients"),
    "patterns-base-minimal_base": ("zypper",),
}
_EL_PLACES = ("@R@/BaseOS/@A@/os", "@R@/AppStream/@A@/os")
# What machines need is not among the packages that Red Hat gives to everybody.
_RHEL_BEHIND = ("kernel-core", "grub2-tools", "grub2-pc-modules", "grub2-efi-x64", "grub2-efi-x64-modules", "shim-x64")


def _redhat(identity: str, release: str, repos: str, folder: str, places: tuple[str, ...]) -> Distribution:
    loaders = Loaders(ESP, folder, "shim-@S@", "grub2-efi-@S@")
    return Distribution(identity, REDHAT, "kernel-core", release, repos, places, _REDHAT_EMPTY, loaders=loaders)


DISTRIBUTIONS = {
    "fedora": _redhat(
        "fedora",
        "fedora-release",
        "fedora-repos",
        "fedora",
        ("releases/@R@/Everything/@A@/os", "updates/@R@/Everything/@A@"),
    ),
    "centos": _redhat("centos", "centos-stream-release", "centos-stream-repos", "centos", _EL_PLACES),
    "rocky": _redhat("rocky", "rocky-release", "rocky-repos", "rocky", _EL_PLACES),
    "almalinux": _redhat("almalinux", "almalinux-release", "almalinux-repos", "almalinux", _EL_PLACES),
    "rhel": replace(
        _redhat(
            "rhel",
            "redhat-release",
            "",  # images of it have a file of package sources that no package brings
            "redhat",
            (
                *(f"content/public/ubi/dist/ubi@R@/@R@/@A@/{part}/os" for part in ("baseos", "appstream")),
                "content/dist/rhel@R@/@R@/@A@/baseos/os",
            ),
        ),
        base="content/public/ubi/dist/ubi@R@/@R@",
        behind=_RHEL_BEHIND,
    ),
    "opensuse": Distribution(
        "opensuse-leap",
        SUSE,
        "kernel-default",
        "openSUSE-release",
        "openSUSE-repos-Leap",
        ("distribution/leap/@R@/repo/oss", *(f"update/leap/@R@/{part}" for part in ("oss", "backports", "sle"))),
        _SUSE_EMPTY,
        loaders=Loaders(SUSE_LAYOUT, "opensuse", "shim", "grub2-@G@"),
        backend="ndb",
        modules="usr/share/grub2",
    ),
}


def known(distribution: str, release: str, architecture: str = "amd64") -> Distribution:
    """A distribution as its ``release`` has it; raises KeyError for one that there is no synthetic mirror of."""
    found = DISTRIBUTIONS[distribution]
    machine = MACHINES[architecture]
    number = int(release.partition("-")[0].partition(".")[0]) if release[0].isdigit() else 0
    if distribution == "fedora" and (not number or number >= 43):
        found = replace(found, loaders=replace(found.loaders, layout=USR))
        if not number:
            found = replace(found, places=("development/rawhide/Everything/@A@/os",))
    elif distribution == "opensuse" and not number:
        # Its GRUB has its tools in a package of their own, which `grub2` requires.
        names = {**SUSE, "grub-common": "grub2-common", "grub2-common": "grub2-common"}
        found = replace(
            found,
            identity="opensuse-tumbleweed",
            names=names,
            repos="openSUSE-repos-Tumbleweed",
            places=("tumbleweed/repo/oss", "update/tumbleweed"),
            empty={**_SUSE_EMPTY, "grub2": ("grub2-common", "grub2-i386-pc")},
        )
    elif distribution == "opensuse" and number >= 16:
        found = replace(found, release="Leap-release", places=("distribution/leap/@R@/repo/oss/@A@",))
    elif distribution != "opensuse" and number in (8, 9):
        found = replace(found, database="/var/lib/rpm")
    words = {"@R@": release, "@A@": machine.rpm, "@S@": machine.suffix, "@G@": machine.grub}
    loaders = found.loaders
    return replace(
        found,
        machine=machine,
        places=tuple(_filled(place, words) for place in found.places),
        base=_filled(found.base, words),
        loaders=replace(loaders, shim=_filled(loaders.shim, words), grub=_filled(loaders.grub, words)),
        empty={name: tuple(_filled(need, words) for need in needs) for name, needs in found.empty.items()},
    )


def _filled(text: str, words: Mapping[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(word, value)
    return text
