"""What a synthetic Gentoo says is installed: portage's database (``/var/db/pkg``), and portage itself."""

from __future__ import annotations

import bz2
import hashlib
import importlib.metadata
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.mirrors import ebuilds
from tests.mirrors.debian import DebianTree

BASE = "sys-apps/baselayout"  # has whatever has no name of its own
OF_DEBIAN = ("etc/init.d", "etc/rc", "etc/localtime", "usr/sbin/installkernel")  # paths that Gentoo's packages have not
NAMES = {  # Gentoo's package of each of Debian's
    "bash": "app-shells/bash",
    "bzip2": "app-arch/bzip2",
    "ca-certificates": "app-misc/ca-certificates",
    "coreutils": "sys-apps/coreutils",
    "curl": "net-misc/curl",
    "dbus": "sys-apps/dbus",
    "dbus-bin": "sys-apps/dbus",
    "dbus-daemon": "sys-apps/dbus",
    "dbus-system-bus-common": "sys-apps/dbus",
    "dbus-session-bus-common": "sys-apps/dbus",
    "e2fsprogs": "sys-fs/e2fsprogs",
    "gpg": "app-crypt/gnupg",
    "gpg-agent": "app-crypt/gnupg",
    "gpgconf": "app-crypt/gnupg",
    "iproute2": "sys-apps/iproute2",
    "kmod": "sys-apps/kmod",
    "libc6": "sys-libs/glibc",
    "libc-bin": "sys-libs/glibc",
    "passwd": "sys-apps/shadow",
    "login": "sys-apps/util-linux",
    "mount": "sys-apps/util-linux",
    "bsdutils": "sys-apps/util-linux",
    "util-linux": "sys-apps/util-linux",
    "procps": "sys-process/procps",
    "python3.13": "dev-lang/python",
    "python3.13-minimal": "dev-lang/python",
    "libpython3.13-minimal": "dev-lang/python",
    "libpython3.13-stdlib": "dev-lang/python",
    "systemd": "sys-apps/systemd",
    "systemd-sysv": "sys-apps/systemd",
    "libsystemd-shared": "sys-apps/systemd",
    "udev": "sys-apps/systemd",
    "libpam-systemd": "sys-apps/systemd",
    "tzdata": "sys-libs/timezone-data",
    "wget": "net-misc/wget",
}
PORTAGE = "sys-apps/portage"


def version(text: str) -> str:
    """A version as portage has it: the numbers that Debian's begins with."""
    found = re.match(r"\d+(\.\d+)*", text.rpartition(":")[2])
    return found[0] if found else "1"


def installed(tree: DebianTree) -> Mapping[str, tuple[str, list[str]]]:
    """The stage 3's packages: the version and the paths of each."""
    found: dict[str, tuple[str, list[str]]] = {}
    brought = ebuilds.slices(tree)
    for name, part in sorted(tree.slices.items()):
        if name not in brought and name not in ebuilds.LEFT_OUT:
            known, paths = found.setdefault(NAMES.get(name, BASE), (version(part.version), []))
            paths += [path for path in part.paths if not path.startswith(OF_DEBIAN)]
            found[NAMES.get(name, BASE)] = (known, paths)
    return found


def write(stage: Path, tree: DebianTree) -> list[str]:
    """Write the database of the tree's packages; returns the paths that they have, sorted."""
    everything: set[str] = set()
    for counter, (name, (number, paths)) in enumerate(sorted(installed(tree).items()), 1):
        everything.update(paths)
        _record(stage, name, number, counter, _contents(tree.root, paths))
    _record(stage, PORTAGE, importlib.metadata.version("portage"), 999, ())
    return sorted(everything)


def _record(stage: Path, name: str, number: str, counter: int, contents: Iterable[str]) -> None:
    category, _, package = name.partition("/")
    folder = stage / f"var/db/pkg/{category}/{package}-{number}"
    folder.mkdir(parents=True)
    values = {
        "BUILD_TIME": str(ebuilds.EPOCH),
        "CATEGORY": category,
        "COUNTER": str(counter),
        "DEFINED_PHASES": "-",
        "DESCRIPTION": f"Debian's programs as {name}",
        "EAPI": "8",
        "HOMEPAGE": "http://mirror.invalid",
        "KEYWORDS": "amd64",
        "LICENSE": "GPL-2",
        "PF": f"{package}-{number}",
        "SLOT": "0",
        "repository": "gentoo",
    }
    for key, value in values.items():
        (folder / key).write_text(f"{value}\n")
    (folder / "CONTENTS").write_text("".join(f"{line}\n" for line in contents))
    (folder / f"{package}-{number}.ebuild").write_text(ebuilds.plain(name))
    (folder / "environment.bz2").write_bytes(
        bz2.compress(f"declare -- EAPI=8\ndeclare -- PF={package}-{number}\n".encode())
    )


def _contents(root: Path, paths: Iterable[str]) -> Iterable[str]:
    for path in paths:
        place = root / path
        if place.is_symlink():
            yield f"sym /{path} -> {place.readlink()} {int(place.lstat().st_mtime)}"
        elif place.is_dir():
            yield f"dir /{path}"
        else:
            sum_ = hashlib.md5(place.read_bytes(), usedforsecurity=False).hexdigest()
            yield f"obj /{path} {sum_} {int(place.stat().st_mtime)}"


def install_portage(stage: Path) -> None:
    """Copy the portage that is installed here into the tree, set up as its own build system does."""
    distribution = importlib.metadata.distribution("portage")
    modules = stage / "usr/lib/python3/dist-packages"
    for file in distribution.files or ():
        path = str(file)
        if "__pycache__" in path or "/tests/" in path:
            continue
        if path.startswith("../../../"):
            target = stage / "usr" / path.removeprefix("../../../")
        elif path.startswith("../../portage/"):  # lib/portage, beside the folder of Python's modules
            target = stage / "usr/lib" / path.removeprefix("../../")
        else:
            target = modules / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(str(distribution.locate_file(file)), target)
    for command in ("emerge", "ebuild", "egencache", "emaint", "portageq", "quickpkg", "env-update"):
        link = stage / "usr/bin" / command
        link.unlink(missing_ok=True)
        link.symlink_to(f"../lib/portage/bin/{command}")
    installation, constants = modules / "portage/installation.py", modules / "portage/const.py"
    installation.write_text(installation.read_text().replace('"MODULE" ==', '"SYSTEM" =='))
    text = constants.read_text()
    for name, value in (("PORTAGE_BASE_PATH", "/usr/lib/portage"), ("PORTAGE_BIN_PATH", "/usr/lib/portage/bin")):
        text = text.replace(f'{name} = """"""', f'{name} = "{value}"')
    constants.write_text(text)
