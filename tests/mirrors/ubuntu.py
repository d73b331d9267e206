"""A synthetic archive of Ubuntu: Debian's packages, with Ubuntu's own in the place of those in which the two differ.

Debian's packages are taken as they are, maintainer scripts and all. What is changed in names, relations and contents
follows Ubuntu's own packages: the kernel in two packages that do not ask for an initial ram disk's maker, the signed
GRUB that wants one of the packages writing to a disk, the shim behind an alternative, cloud-init with netplan.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stages.repositories import apt_sources
from tests.mirrors.apt import control, fields, pack, publish, relate, run
from tests.mirrors.debian import SUITE, cloud_config
from tests.mirrors.keys import Key
from tests.mirrors.uefi import MACHINES, Machine

RELEASES = {"jammy": ("22.04", "Jammy Jellyfish"), "noble": ("24.04", "Noble Numbat")}
POCKETS = ("", "-updates", "-security", "-backports")
COMPONENTS = ("main", "restricted", "universe", "multiverse")
KEYRING = "usr/share/keyrings/ubuntu-archive-keyring.gpg"
EXTRA = "extra-tool"  # a package of no use, for tests that install one: version 1, and 2 in the updates
_WANTED = (  # of Debian, with all that they need
    *("systemd-sysv", "libpam-systemd", "udev", "dbus", "kmod", "login", "passwd", "iproute2", "procps", "e2fsprogs"),
    *("linux-image-cloud-{}", "initramfs-tools", "tzdata", "sudo", "ca-certificates", "usr-is-merged"),
    *("grub2-common", "grub-efi-{}", "grub-efi-{}-signed", "shim-signed", "openssh-server"),
    *("cloud-init", "cloud-guest-utils", "fdisk", "netplan.io", "adduser", "netbase", "kbd", "less", "lsb-release"),
    *("iputils-ping", "netcat-openbsd", "locales", "whiptail", "vim-tiny", "systemd-resolved", "bash-completion"),
)
MINIMAL = (  # what the metapackage of the minimal system asks for, as far as Debian has it
    *("adduser", "apt", "bzip2", "debconf", "e2fsprogs", "init", "initramfs-tools", "iproute2", "iputils-ping", "kbd"),
    *("kmod", "less", "locales", "lsb-release", "mawk", "mount", "netbase", "netcat-openbsd", "netplan.io", "passwd"),
    *("procps", "python3", "sensible-utils", "sudo", "tzdata", "ubuntu-keyring", "udev", "vim-tiny", "whiptail"),
)
# Debian's own of these are no part of the archive; nor is usr-is-merged, which base-files stands for since noble.
LEFT_OUT = re.compile(r"(debian-archive-keyring|linux-image-cloud-\w+|shim-.*|usr-is-merged)_")
# What the signed GRUB has built in: it finds and reads its menu without a module from the disk.
GRUB_MODULES = (
    *("all_video", "boot", "configfile", "echo", "ext2", "fat", "gzio", "linux", "normal", "part_gpt", "part_msdos"),
    *("search", "search_fs_file", "search_fs_uuid", "search_label", "serial", "sleep", "terminal", "test", "true"),
)
_SHIM_POSTINST = """\
#!/bin/sh
set -e
update-alternatives --install /usr/lib/shim/shim@SUFFIX@.efi.signed shim@SUFFIX@.efi.signed \\
    /usr/lib/shim/shim@SUFFIX@.efi.signed.latest 100
"""
# The hooks of /etc/kernel run once all packages of a transaction are set up, the ram disk's maker among them.
_KERNEL_POSTINST = """\
#!/bin/sh
set -e
case "$1" in
    configure)
        depmod @VERSION@
        linux-update-symlinks install @VERSION@ /boot/vmlinuz-@VERSION@
        dpkg-trigger --no-await linux-update-@VERSION@
        ;;
    triggered)
        run-parts --exit-on-error --arg=@VERSION@ --arg=/boot/vmlinuz-@VERSION@ /etc/kernel/postinst.d
        ;;
esac
"""


@dataclass(frozen=True)
class Mirror:
    """The archive of a release: ``folder`` is what a mirror serves, ``keyring`` holds the key that signs it."""

    folder: Path
    keyring: Path
    key: Key


def download(folder: Path, architecture: str = "amd64") -> tuple[Path, ...]:
    """What an archive is made of: Debian's packages, with all that these need; kept if they are there."""
    if not (folder / "whole").exists():
        shutil.rmtree(folder, ignore_errors=True)
        for name in ("lists/partial", "cache/archives/partial", "etc"):
            (folder / name).mkdir(parents=True)
        (folder / "sources.list").write_text(apt_sources.debian_mirror().sources(SUITE) + "\n")
        (folder / "apt.conf").write_text(
            "\n".join(
                (
                    *apt_sources.settings(),
                    f'Dir::Etc "{folder}/etc";',
                    f'Dir::Etc::SourceList "{folder}/sources.list";',
                    'Dir::Etc::SourceParts "/dev/null";',
                    'Dir::Etc::Trusted "/dev/null";',
                    'Dir::Etc::TrustedParts "/usr/share/keyrings";',
                    f'Dir::State::Lists "{folder}/lists";',
                    'Dir::State::Status "/dev/null";',
                    f'Dir::Cache "{folder}/cache";',
                    f'APT::Architecture "{architecture}";',
                    f'APT::Architectures {{ "{architecture}"; }};',
                    'APT::Sandbox::User "root";',
                    'APT::Install-Recommends "false";',
                    'Acquire::Languages "none";',
                    "",
                )
            )
        )
        bios = ("grub-pc-bin",) if architecture == "amd64" else ()
        wanted = (*(name.format(architecture) for name in _WANTED), *bios, "apt", "?essential", "?priority(required)")
        for command in (("update",), ("install", "--yes", "--download-only", *wanted)):
            run(["apt-get", "-qq", *command], APT_CONFIG=str(folder / "apt.conf"))
        (folder / "whole").touch()
    return tuple(sorted((folder / "cache/archives").glob("*.deb")))


def make(folder: Path, release: str, packages: Iterable[Path], architecture: str = "amd64") -> Mirror:
    """Make the archive of a release (of :data:`RELEASES`) in ``folder`` from Debian's packages."""
    machine = MACHINES[architecture]
    work = folder.with_name(f"{folder.name}.work")
    for fresh in (folder, work):
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
    key = Key.make(work / "gnupg", "Synthetic Ubuntu")
    keyring = work / "ubuntu-archive-keyring.gpg"
    keyring.write_bytes(key.public(armor=False))
    for pocket in POCKETS:
        for component in COMPONENTS:
            (folder / "pool" / f"{release}{pocket}" / component).mkdir(parents=True)
    _Archive(work, folder / "pool" / release, release, machine, tuple(packages)).fill(keyring)
    _extra(work, folder / f"pool/{release}-updates/universe", "2")
    about = {"Origin": "Ubuntu", "Label": "Ubuntu", "Version": RELEASES[release][0], "Codename": release}
    for pocket in POCKETS:
        publish(folder, f"{release}{pocket}", COMPONENTS, about, key, architecture)
    return Mirror(folder, keyring, key)


@dataclass(frozen=True)
class _Archive:
    """Fills the pool of a release; ``work`` is for packages being changed."""

    work: Path
    pool: Path
    release: str
    machine: Machine
    packages: tuple[Path, ...]

    def fill(self, keyring: Path) -> None:
        """All packages: Debian's own, those that differ, and those that only Ubuntu has."""
        changed = {
            "base-files": self._base_files,
            "init-system-helpers": lambda root: relate(root, Depends=lambda text: "perl-base (>= 5.20.1-3)"),
            "apt": lambda root: relate(root, Depends=lambda text: text.replace("debian-archive-", "ubuntu-")),
            "cloud-init": self._cloud_init,
            f"grub-efi-{self.machine.debian}-signed": self._signed_grub,
        }
        for package in self.packages:
            name = package.name.partition("_")[0]
            if re.match(r"linux-image-[0-9]", name):
                self._kernel(package, name.removeprefix("linux-image-"))
            elif name in changed:
                root = self._unpacked(package)
                changed[name](root)
                pack(root, self.pool / "main")
            elif not LEFT_OUT.match(package.name):
                os.link(package, self.pool / "main" / package.name)
        self._shim()
        self._keyring(keyring)
        self._new("ubuntu-minimal", "1.539", MINIMAL)
        _extra(self.work, self.pool / "universe", "1")

    def _package(self, name: str) -> Path:
        return next(package for package in self.packages if package.name.startswith(f"{name}_"))

    def _unpacked(self, package: Path) -> Path:
        root = self.work / "debian" / package.name.partition("_")[0]
        root.parent.mkdir(exist_ok=True)
        run(["dpkg-deb", "--raw-extract", str(package), str(root)])
        (root / "DEBIAN/md5sums").unlink(missing_ok=True)
        return root

    def _new(self, name: str, version: str, depends: Iterable[str], files: Mapping[str, Path] | None = None) -> None:
        root = self.work / name
        for path, source in (files or {}).items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, root / path)
        control(root, name, version, depends)
        pack(root, self.pool / "main")

    def _base_files(self, root: Path) -> None:
        number, title = RELEASES[self.release]
        long = f"Ubuntu {number} LTS"
        (root / "usr/lib/os-release").write_text(
            f'PRETTY_NAME="{long}"\nNAME="Ubuntu"\nVERSION_ID="{number}"\nVERSION="{number} LTS ({title})"\n'
            f"VERSION_CODENAME={self.release}\nID=ubuntu\nID_LIKE=debian\nUBUNTU_CODENAME={self.release}\n"
        )
        (root / "etc/lsb-release").write_text(
            f"DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE={number}\nDISTRIB_CODENAME={self.release}\n"
            f'DISTRIB_DESCRIPTION="{long}"\n'
        )
        (root / "etc/issue").write_text(f"{long} (synthetic archive) \\n \\l\n\n")
        relate(root, Version=lambda text: f"{text}ubuntu1")
        if self.release != "jammy":
            relate(root, Provides=lambda text: f"{text}, usr-is-merged")

    def _cloud_init(self, root: Path) -> None:
        file = root / "etc/cloud/cloud.cfg"
        file.write_text(cloud_config(file.read_text(), "ubuntu", ("netplan", "eni", "sysconfig")))
        relate(root, Depends=lambda text: f"{text}, netplan.io", Version=lambda text: f"{text}ubuntu1")

    def _kernel(self, package: Path, version: str) -> None:
        """Image and modules are two packages, and neither asks for what makes an initial ram disk."""
        root = self._unpacked(package)
        modules = self.work / f"linux-modules-{version}"
        (modules / "usr/lib").mkdir(parents=True)
        (root / "usr/lib/modules").rename(modules / "usr/lib/modules")
        number = fields(root)["Version"]
        control(modules, f"linux-modules-{version}", number, (), self.machine.debian)
        relate(
            root,
            Depends=lambda _: f"kmod, linux-base, linux-modules-{version}",
            Recommends=lambda _: f"grub-pc | grub-efi-{self.machine.debian}, initramfs-tools | linux-initramfs-tool",
        )
        (root / "DEBIAN/postinst").write_text(_KERNEL_POSTINST.replace("@VERSION@", version))
        (root / "DEBIAN/triggers").write_text(f"interest linux-update-{version}\n")
        for script in ("preinst", "prerm", "config", "templates"):
            (root / "DEBIAN" / script).unlink(missing_ok=True)
        for each in (root, modules):
            pack(each, self.pool / "main")
        self._new("linux-firmware", number, ())
        self._new("linux-image-generic", number, (f"linux-image-{version}", "linux-firmware"))
        self._new("linux-image-virtual", number, (f"linux-image-{version}",))

    def _signed_grub(self, root: Path) -> None:
        """GRUB with Ubuntu's folder on the ESP built in, signed by nobody; it brings a package that writes to disks."""
        arch, platform = self.machine.debian, self.machine.grub
        modules = self._unpacked(self._package(f"grub-efi-{arch}-bin")) / "usr/lib/grub" / platform
        target = root / f"usr/lib/grub/{platform}-signed/grub{self.machine.suffix}.efi.signed"
        command = ["grub-mkimage", "--directory", str(modules), "--format", platform, "--prefix", "/EFI/ubuntu"]
        run([*command, "--output", str(target), *GRUB_MODULES])
        needs = f"grub-efi-{arch}-bin, grub-efi-{arch} | grub-pc, grub2-common"
        relate(root, Depends=lambda _: needs, Recommends=lambda _: "")

    def _shim(self) -> None:
        """The shim's name without a suffix is an alternative, which the package's script makes."""
        arch, suffix = self.machine.debian, self.machine.suffix
        root = self.work / "shim-signed"
        target = root / "usr/lib/shim"
        target.mkdir(parents=True)
        signed = self._unpacked(self._package("shim-signed")) / f"usr/lib/shim/shim{suffix}.efi.signed"
        signed.rename(target / f"shim{suffix}.efi.signed.latest")
        others = self._unpacked(self._package(f"shim-helpers-{arch}-signed")) / "usr/lib/shim"
        for name in (f"mm{suffix}.efi", f"fb{suffix}.efi"):
            (others / f"{name}.signed").rename(target / name)
        control(root, "shim-signed", "1.58", (f"grub-efi-{arch}-signed", "grub2-common"), arch)
        script = root / "DEBIAN/postinst"
        script.write_text(_SHIM_POSTINST.replace("@SUFFIX@", suffix))
        script.chmod(0o755)
        pack(root, self.pool / "main")

    def _keyring(self, keyring: Path) -> None:
        files = {KEYRING: keyring, "etc/apt/trusted.gpg.d/ubuntu-keyring-2018-archive.gpg": keyring}
        self._new("ubuntu-keyring", "2023.11.28.1", (), files)


def _extra(work: Path, target: Path, version: str) -> None:
    root = work / f"{EXTRA}-{version}"
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin" / EXTRA).write_text(f"#!/bin/sh\necho {version}\n")
    (root / "usr/bin" / EXTRA).chmod(0o755)
    control(root, EXTRA, version, ())
    pack(root, target)
