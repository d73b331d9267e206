"""A synthetic archive of Ubuntu: Debian's packages, with Ubuntu's own in the place of those in which the two differ.

Debian's packages are taken as they are, maintainer scripts and all. What is changed in names, relations and contents
follows Ubuntu's own packages: the kernel in two packages that do not ask for an initial ram disk's maker, the signed
GRUB that wants one of the packages writing to a disk, the shim behind an alternative, cloud-init with netplan.
"""

from __future__ import annotations

import lzma
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from stages import aptsources
from tests.mirrors.debian import SUITE
from tests.mirrors.keys import Key

RELEASES = {"jammy": ("22.04", "Jammy Jellyfish"), "noble": ("24.04", "Noble Numbat")}
POCKETS = ("", "-updates", "-security", "-backports")
COMPONENTS = ("main", "restricted", "universe", "multiverse")
KEYRING = "usr/share/keyrings/ubuntu-archive-keyring.gpg"
EXTRA = "extra-tool"  # a package of no use, for tests that install one: version 1, and 2 in the updates
WANTED = (  # of Debian, with all that they need
    *("systemd-sysv", "libpam-systemd", "udev", "dbus", "kmod", "login", "passwd", "iproute2", "procps", "e2fsprogs"),
    *("linux-image-cloud-amd64", "initramfs-tools", "tzdata", "sudo", "ca-certificates", "usr-is-merged"),
    *("grub2-common", "grub-pc-bin", "grub-efi-amd64", "grub-efi-amd64-signed", "shim-signed", "openssh-server"),
    *("cloud-init", "cloud-guest-utils", "fdisk", "netplan.io", "adduser", "netbase", "kbd", "less", "lsb-release"),
    *("iputils-ping", "netcat-openbsd", "locales", "whiptail", "vim-tiny", "systemd-resolved", "bash-completion"),
)
MINIMAL = (  # what the metapackage of the minimal system asks for, as far as Debian has it
    *("adduser", "apt", "bzip2", "debconf", "e2fsprogs", "init", "initramfs-tools", "iproute2", "iputils-ping", "kbd"),
    *("kmod", "less", "locales", "lsb-release", "mawk", "mount", "netbase", "netcat-openbsd", "netplan.io", "passwd"),
    *("procps", "python3", "sensible-utils", "sudo", "tzdata", "ubuntu-keyring", "udev", "vim-tiny", "whiptail"),
)
# Debian's own of these are no part of the archive.
LEFT_OUT = re.compile(r"(debian-archive-keyring|linux-image-cloud-amd64|shim-.*)_")
# What the signed GRUB has built in: it finds and reads its menu without a module from the disk.
GRUB_MODULES = (
    "all_video boot cat chain configfile echo efifwsetup ext2 fat font gfxterm gzio halt linux loadenv normal "  # noqa: SIM905
    "part_gpt part_msdos reboot search search_fs_file search_fs_uuid search_label serial sleep terminal test true"
).split()
_SHIM_POSTINST = """\
#!/bin/sh
set -e
update-alternatives --install /usr/lib/shim/shimx64.efi.signed shimx64.efi.signed \\
    /usr/lib/shim/shimx64.efi.signed.latest 100
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


def download(folder: Path) -> tuple[Path, ...]:
    """Debian's packages of :data:`WANTED`, the essential ones, and all that these need; kept if they are there."""
    if not (folder / "whole").exists():
        shutil.rmtree(folder, ignore_errors=True)
        for name in ("lists/partial", "cache/archives/partial", "etc"):
            (folder / name).mkdir(parents=True)
        (folder / "sources.list").write_text(aptsources.debian_mirror().sources(SUITE) + "\n")
        (folder / "apt.conf").write_text(
            "\n".join(
                (
                    *aptsources.settings(),
                    f'Dir::Etc "{folder}/etc";',
                    f'Dir::Etc::SourceList "{folder}/sources.list";',
                    'Dir::Etc::SourceParts "/dev/null";',
                    'Dir::Etc::Trusted "/dev/null";',
                    'Dir::Etc::TrustedParts "/usr/share/keyrings";',
                    f'Dir::State::Lists "{folder}/lists";',
                    'Dir::State::Status "/dev/null";',
                    f'Dir::Cache "{folder}/cache";',
                    'APT::Architecture "amd64";',
                    'APT::Architectures { "amd64"; };',
                    'APT::Sandbox::User "root";',
                    'APT::Install-Recommends "false";',
                    'Acquire::Languages "none";',
                    "",
                )
            )
        )
        wanted = (*WANTED, "apt", "?essential", "?priority(required)")
        for command in (("update",), ("install", "--yes", "--download-only", *wanted)):
            run(["apt-get", "-qq", *command], APT_CONFIG=str(folder / "apt.conf"))
        (folder / "whole").touch()
    return tuple(sorted((folder / "cache/archives").glob("*.deb")))


def make(folder: Path, release: str, packages: Iterable[Path]) -> Mirror:
    """Make the archive of a release (of :data:`RELEASES`) in ``folder`` from Debian's packages."""
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
    _Archive(work, folder / "pool" / release, release, tuple(packages)).fill(keyring)
    _extra(work, folder / f"pool/{release}-updates/universe", "2")
    for pocket in POCKETS:
        publish(folder, f"{release}{pocket}", release, key)
    return Mirror(folder, keyring, key)


@dataclass(frozen=True)
class _Archive:
    """Fills the pool of a release; ``work`` is for packages being changed."""

    work: Path
    pool: Path
    release: str
    packages: tuple[Path, ...]

    def fill(self, keyring: Path) -> None:
        """All packages: Debian's own, those that differ, and those that only Ubuntu has."""
        changed = {
            "base-files": self._base_files,
            "apt": lambda root: relate(root, Depends=lambda text: text.replace("debian-archive-", "ubuntu-")),
            "cloud-init": self._cloud_init,
            "grub-efi-amd64-signed": self._signed_grub,
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

    def _cloud_init(self, root: Path) -> None:
        file = root / "etc/cloud/cloud.cfg"
        text = file.read_text()
        found, count = re.subn(r"(?m)^(\s+distro:|\s+name:) debian$", r"\1 ubuntu", text)
        assert count == 2, text
        file.write_text(re.sub(r"renderers: .*", "renderers: ['netplan', 'eni', 'sysconfig']", found))
        relate(root, Depends=lambda text: f"{text}, netplan.io", Version=lambda text: f"{text}ubuntu1")

    def _kernel(self, package: Path, version: str) -> None:
        """Image and modules are two packages, and neither asks for what makes an initial ram disk."""
        root = self._unpacked(package)
        modules = self.work / f"linux-modules-{version}"
        (modules / "usr/lib").mkdir(parents=True)
        (root / "usr/lib/modules").rename(modules / "usr/lib/modules")
        number = fields(root)["Version"]
        control(modules, f"linux-modules-{version}", number, ())
        relate(
            root,
            Depends=lambda _: f"kmod, linux-base, linux-modules-{version}",
            Recommends=lambda _: "grub-pc | grub-efi-amd64, initramfs-tools | linux-initramfs-tool",
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
        modules = self._unpacked(self._package("grub-efi-amd64-bin")) / "usr/lib/grub/x86_64-efi"
        target = root / "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"
        command = ["grub-mkimage", "--directory", str(modules), "--format", "x86_64-efi", "--prefix", "/EFI/ubuntu"]
        run([*command, "--output", str(target), *GRUB_MODULES])
        relate(root, Depends=lambda _: "grub-efi-amd64-bin, grub-efi-amd64 | grub-pc, grub2-common", Recommends=_nothing)

    def _shim(self) -> None:
        """The shim's name without a suffix is an alternative, which the package's script makes."""
        root = self.work / "shim-signed"
        target = root / "usr/lib/shim"
        target.mkdir(parents=True)
        signed = self._unpacked(self._package("shim-signed")) / "usr/lib/shim/shimx64.efi.signed"
        signed.rename(target / "shimx64.efi.signed.latest")
        others = self._unpacked(self._package("shim-helpers-amd64-signed")) / "usr/lib/shim"
        for name in ("mmx64.efi", "fbx64.efi"):
            (others / f"{name}.signed").rename(target / name)
        control(root, "shim-signed", "1.58", ("grub-efi-amd64-signed", "grub2-common"))
        script = root / "DEBIAN/postinst"
        script.write_text(_SHIM_POSTINST)
        script.chmod(0o755)
        pack(root, self.pool / "main")

    def _keyring(self, keyring: Path) -> None:
        files = {KEYRING: keyring, "etc/apt/trusted.gpg.d/ubuntu-keyring-2018-archive.gpg": keyring}
        self._new("ubuntu-keyring", "2023.11.28.1", (), files)


def _nothing(_: str) -> str:
    return ""


def _extra(work: Path, target: Path, version: str) -> None:
    root = work / f"{EXTRA}-{version}"
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin" / EXTRA).write_text(f"#!/bin/sh\necho {version}\n")
    (root / "usr/bin" / EXTRA).chmod(0o755)
    control(root, EXTRA, version, ())
    pack(root, target)


def fields(root: Path) -> dict[str, str]:
    """The control file of an unpacked package (deb-control(5))."""
    found: dict[str, str] = {}
    key = ""
    for line in (root / "DEBIAN/control").read_text().splitlines():
        if line[0] == " ":
            found[key] += f"\n{line}"
        else:
            key, _, value = line.partition(":")
            found[key] = value.strip()
    return found


def relate(root: Path, **changes: object) -> None:
    """Change fields of an unpacked package: each by a function of what it was; a field that becomes empty goes."""
    found = fields(root)
    for name, change in changes.items():
        assert callable(change)
        found[name] = change(found.get(name, ""))
    (root / "DEBIAN/control").write_text("".join(f"{name}: {text}\n" for name, text in found.items() if text))


def control(root: Path, name: str, version: str, depends: Iterable[str]) -> None:
    """Write the control file of a new package."""
    (root / "DEBIAN").mkdir(parents=True, exist_ok=True)
    needs = f"Depends: {', '.join(depends)}\n" if depends else ""
    (root / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: Nobody <nobody@mirror.invalid>\n{needs}"
        f"Section: misc\nPriority: optional\nDescription: {name} of a synthetic archive\n"
    )


def pack(root: Path, target: Path) -> None:
    """Build the package of an unpacked one into a folder, compressed as Ubuntu does."""
    run(["dpkg-deb", "-Zzstd", "-z1", "--build", str(root), str(target)])


def publish(folder: Path, suite: str, codename: str, key: Key) -> None:
    """Write the lists of a suite's packages, and the index of them signed by ``key``."""
    dists = folder / "dists" / suite
    shutil.rmtree(dists, ignore_errors=True)
    for component in COMPONENTS:
        lists = dists / component / "binary-amd64"
        lists.mkdir(parents=True)
        text = run(["apt-ftparchive", "packages", f"pool/{suite}/{component}"], cwd=folder)
        (lists / "Packages").write_bytes(text)
        (lists / "Packages.xz").write_bytes(lzma.compress(text, preset=0))
    release = {
        "Origin": "Ubuntu",
        "Label": "Ubuntu",
        "Suite": suite,
        "Version": RELEASES[codename][0],
        "Codename": codename,
        "Architectures": "amd64",
        "Components": " ".join(COMPONENTS),
    }
    options = [word for name, text in release.items() for word in ("-o", f"APT::FTPArchive::Release::{name}={text}")]
    text = run(["apt-ftparchive", *options, "release", str(dists)])
    (dists / "Release").write_bytes(text)
    (dists / "InRelease").write_bytes(key.clear_sign(text))


def run(command: list[str], cwd: Path | None = None, **variables: str) -> bytes:
    """Run a command; what it prints. Raises RuntimeError with what it said where it fails."""
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **variables}, capture_output=True, check=False)
    if done.returncode != 0:
        message = f"{' '.join(command[:3])} failed:\n{done.stderr.decode(errors='replace')[-3000:]}"
        raise RuntimeError(message)
    return done.stdout
