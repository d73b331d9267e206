"""Synthetic RPM mirrors: Debian's programs as signed RPMs under a distribution's names, with its layout and indices."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.mirrors import rpmlists, rpmpitfalls, rpmproperties, rpmversions
from tests.mirrors.debian import DebianTree, bootstrap
from tests.mirrors.keys import Key
from tests.mirrors.rpmnames import Distribution, known
from tests.mirrors.rpmpack import EPOCH, EXTRA, Pack
from tests.mirrors.rpmproperties import NONE, Properties
from tests.mirrors.rpmv6 import sign_as_v6

__all__ = ["EPOCH", "Mirror", "index", "make", "packages", "sign"]
_PACKAGES = (  # of Debian, with all that they need
    *("systemd-sysv", "udev", "libpam-systemd", "dbus", "kmod", "login", "passwd", "iproute2", "procps", "e2fsprogs"),
    *("linux-image-cloud-{}", "dracut", "grub2-common", "grub-efi-{}-bin", "openssh-server"),
    *("sudo", "ca-certificates", "curl", "cpio", "hostname", "less", "tzdata", "xz-utils", "bzip2", "zstd"),
    *("dnf", "rpm", "zypper", "python3", "network-manager", "cloud-init", "cloud-guest-utils", "gdisk", "parted"),
    *("shim-signed", "shim-helpers-{}-signed", "selinux-policy-default"),
)
_BIOS = ("grub-pc-bin",)
ENDED = ("2024-06-19", "20220620T000000")  # the end that a key had at first, and when it was made


def packages(architecture: str = "amd64") -> tuple[str, ...]:
    """The Debian packages that a mirror is made of."""
    bios = _BIOS if architecture == "amd64" else ()
    return (*(package.format(architecture) for package in _PACKAGES), *bios)


@dataclass(frozen=True)
class Mirror:
    """A synthetic mirror in ``folder``: the packages' public ``key``, the folders of its repositories (relative).

    ``base`` is the relative folder that builds take for the mirror; ``trusted`` is the key as its owner has it now.
    """

    distribution: str
    folder: Path
    key: Path
    places: tuple[str, ...]
    base: str = ""

    @property
    def following(self) -> Path:
        """The next release's key, where some packages have it."""
        return self.key.with_name(f"{self.key.name}-next")

    @property
    def trusted(self) -> Path:
        """The key that its lists are signed with today."""
        return self.folder / self.places[0] / "repodata/repomd.xml.key"

    @property
    def packages(self) -> Path:
        """The folder with the packages."""
        return self.folder / self.places[0] / "Packages"

    def package(self, name: str) -> Path:
        """The file of a package."""
        (found,) = self.packages.glob(f"{name}-[0-9]*.rpm")
        return found


def make(
    folder: Path,
    distribution: str,
    release: str,
    tree: DebianTree | None = None,
    architecture: str = "amd64",
    properties: Properties | None = None,
) -> Mirror:
    """Make the mirror of a distribution's release in ``folder``; takes about half a minute.

    ``tree`` has the :func:`packages`; it is bootstrapped where it is not given, beside ``folder``. ``properties`` are
    the distribution's own where they are not given.
    """
    properties = properties or rpmproperties.of(distribution, release)
    made = known(distribution, release, architecture)
    tree = tree or bootstrap(folder.parent / f"debian-tree-{architecture}", packages(architecture), architecture)
    work = folder.with_name(f"{folder.name}.work")
    for fresh in (folder, work):
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
    subprocess.run(["cp", "-al", str(tree.root), str(work / "root")], check=True)
    pack = Pack(made, release, tree, work / "root", properties)
    pack.collect()
    rpmpitfalls.add(pack)
    (work / "all.spec").write_text(pack.spec(work))
    for place in made.places:
        (folder / place).mkdir(parents=True)
    mirror = Mirror(distribution, folder, folder / "RPM-GPG-KEY-synthetic", made.places, made.base)
    vendor = rpmversions.VENDORS[0] if properties.two_vendors else ""
    _build(work, mirror.packages, made.machine.rpm, vendor)
    modules = _versions(work, mirror, made, properties)
    key = _key(work / "gnupg", mirror.key, properties)
    sign(folder.glob("**/*.rpm"), key)
    if properties.next_key:
        following = Key.make(work / "gnupg-next", "Synthetic Mirror of the next release")
        sign([mirror.package(EXTRA), mirror.package("bash")], following)
        mirror.following.write_bytes(following.public())
    shutil.rmtree(work / "root")
    if properties.both_signatures:
        for package in folder.glob("**/*.rpm"):
            sign_as_v6(package, beside=True)
    for name in made.behind:
        if name not in pack.groups:
            continue  # a small mirror has no part of a machine
        package = mirror.package(name)
        package.rename(folder / made.places[-1] / package.name)
    for place in made.places:
        index(folder / place, key, properties, modules if made.places[1:2] == (place,) else "")
    return mirror


def _versions(work: Path, mirror: Mirror, distribution: Distribution, properties: Properties) -> str:
    """Build what there are two versions of; the description of modules of the second repository, if it has any."""
    machine = distribution.machine.rpm
    if len(mirror.places) == 1:
        return ""
    second = mirror.folder / mirror.places[1] / "Packages"
    second.mkdir(parents=True, exist_ok=True)
    if distribution.identity.startswith("opensuse"):
        older, newer = rpmversions.vendors(properties.two_vendors)
        older.build(work, mirror.packages, machine, EPOCH)
        newer.build(work, second, machine, EPOCH)
        return ""
    for version in rpmversions.streams(properties.module_streams):
        version.build(work, second, machine, EPOCH)
    return rpmversions.modules(machine) if properties.module_streams else ""


def _key(home: Path, given: Path, properties: Properties) -> Key:
    """The mirror's key, and the copy of it that builds are given: it may have ended since, and been renewed."""
    if not properties.renewed_key:
        key = Key.make(home, "Synthetic Mirror")
        given.write_bytes(key.public())
        return key
    key = Key.make(home, "Synthetic Mirror", *ENDED)
    given.write_bytes(key.public())
    return key.renew()


def _build(work: Path, target: Path, machine: str, vendor: str) -> None:
    defines = {
        "_topdir": str(work / "top"),
        "_rpmdir": str(target),
        "_rpmfilename": "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
        "_buildhost": "synthetic",
        "use_source_date_epoch_as_buildtime": "1",
        "clamp_mtime_to_source_date_epoch": "1",
        **({"vendor": vendor} if vendor else {}),
    }
    command = ["rpmbuild", "-bb", "--noclean", "--nodeps", "--target", machine, "--buildroot", str(work / "root")]
    command += [word for name, value in defines.items() for word in ("--define", f"{name} {value}")]
    _run([*command, str(work / "all.spec")], SOURCE_DATE_EPOCH=str(EPOCH))


def _run(command: list[str], **variables: str) -> None:
    done = subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode != 0:
        message = f"{command[0]} failed:\n{done.stderr[-3000:]}"
        raise RuntimeError(message)


def sign(packages: Iterable[Path], key: Key) -> None:
    """Sign packages, in the place of any signature that they have."""
    defines = [("_gpg_name", key.name), ("_gpg_path", str(key.home)), ("__gpg", "/usr/bin/gpg")]
    options = [word for name, value in defines for word in ("--define", f"{name} {value}")]
    _run(["rpmsign", *options, "--addsign", *map(str, packages)], GNUPGHOME=str(key.home))


def index(repository: Path, key: Key, properties: Properties = NONE, modules: str = "") -> None:
    """Write a repository's lists anew, as :func:`tests.mirrors.rpmlists.write` does."""
    rpmlists.write(repository, EPOCH, key, properties, modules)
