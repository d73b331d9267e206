"""What the shared elements ask for is called what each distribution calls it.

The tables were compared with the distributions' package lists, image definitions and spec files; they are written out
once more here so that a change of a pkg-map shows for every distribution that it touches.
"""

from __future__ import annotations

import pytest

from stages.element.package_installs import FAMILIES, package_installs, pkg_map, read_pkg_maps, render_svc_map
from stages.element.resolve import BUILTIN

ELEMENTS = (
    *("base", "cloud-init", "cloud-init-datasources", "devuser", "enable-serial-console", "growroot", "manifests"),
    *("openssh-server", "package-installs", "runtime-ssh-host-keys", "svc-map", "sysprep", "vm"),
)
ASKED = {"base": ("ca-certificates", "sudo")}  # what scripts ask for themselves
DEBIAN = """
    ca-certificates cloud-guest-utils cloud-init dbus e2fsprogs fdisk iproute2 kmod libpam-systemd login mount
    openssh-server passwd procps sudo systemd-sysv tzdata udev util-linux
"""
REDHAT = """
    NetworkManager ca-certificates cloud-init cloud-utils-growpart dbus e2fsprogs iproute kmod openssh-server procps-ng
    selinux-policy-targeted shadow-utils sudo systemd systemd-pam systemd-udev tzdata util-linux
"""
EXPECTED = {
    "debian": DEBIAN,
    "ubuntu": f"{DEBIAN} netplan.io",
    **dict.fromkeys(("fedora", "centos", "rocky", "almalinux", "rhel"), REDHAT),
    "opensuse": """
        NetworkManager ca-certificates ca-certificates-mozilla cloud-init cloud-init-config-suse dbus-1 e2fsprogs
        growpart iproute2 kmod openssh procps shadow sudo systemd systemd-sysvinit timezone udev util-linux
        util-linux-systemd
    """,
    "arch": """
        ca-certificates cloud-guest-utils cloud-init dbus e2fsprogs iproute2 kmod openssh procps-ng shadow sudo systemd
        systemd-sysvcompat tzdata util-linux
    """,
    "alpine": """
        alpine-base ca-certificates cloud-init cloud-utils-growpart e2fsprogs e2fsprogs-extra findmnt iproute2-minimal
        kmod mount openrc openssh procps-ng sfdisk shadow sudo tzdata
    """,
    "gentoo": """
        app-admin/sudo app-emulation/cloud-init app-misc/ca-certificates net-misc/openssh sys-apps/dbus
        sys-apps/iproute2 sys-apps/kmod sys-apps/shadow sys-apps/util-linux sys-fs/e2fsprogs
        sys-fs/growpart sys-libs/timezone-data sys-process/procps
    """,
}
FOLDERS = [(name, BUILTIN / name) for name in ELEMENTS]


def packages(distribution: str) -> set[str]:
    """All packages that the elements install, under the distribution's names."""
    environment = {"DISTRO_NAME": distribution, "DIB_RELEASE": "any", "ARCH": "amd64", "DIB_INIT_SYSTEM": "systemd"}
    found = {name for phase in package_installs(FOLDERS, environment).values() for name in phase.install}
    maps = read_pkg_maps(FOLDERS)
    for element, wanted in ASKED.items():
        names = pkg_map(maps[element], distribution, "any")
        found.update(name for package in wanted for name in names[package].split())
    return found


@pytest.mark.parametrize("distribution", EXPECTED)
def test_packages_are_called_what_the_distribution_calls_them(distribution: str) -> None:
    assert packages(distribution) == set(EXPECTED[distribution].split())


def test_every_family_has_its_names() -> None:
    assert {FAMILIES[distribution] for distribution in EXPECTED} == set(FAMILIES.values())


@pytest.mark.parametrize("distribution", EXPECTED)
def test_services_are_called_what_the_distribution_calls_them(distribution: str) -> None:
    server = "ssh" if FAMILIES[distribution] == "debian" else "sshd"
    assert render_svc_map(FOLDERS, distribution) == f"openssh-server\t{server}\n"
