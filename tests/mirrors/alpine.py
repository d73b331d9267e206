"""A synthetic mirror of Alpine Linux: Debian's programs and a real apk as apk's packages under Alpine's names.

The C library is Debian's, under musl's name. busybox makes its links where it is installed and, by a trigger, where
folders of programs change; the package with :data:`EXTRA` has every kind of script that apk runs at an installation.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.mirrors.apk import LINK, Key, Package, Sliced, write_repository
from tests.mirrors.debian import DebianTree

PACKAGES = ("bash", "busybox", "coreutils", "findutils", "hostname", "libc-bin", "passwd", "tar")  # of Debian
EXTRA = "extra-tool"  # a package of no use, for tests that install one
MORE = "more-tool"  # another one
RELEASE = "v3.22"
NAMES = {
    "libc6": "musl",
    "libc-bin": "libc-utils",
    "base-files": "alpine-baselayout",
    "base-passwd": "alpine-baselayout",
}
LEFT_OUT = frozenset(
    ("apt", "dpkg", "debconf", "ucf", "sqv", "libapt-pkg7.0", "debian-archive-keyring", "init-system-helpers")
)
OF_DEBIAN = (
    "etc/init.d",
    "etc/rc",
    "etc/default",
    "etc/cron",
    "etc/os-release",
    "usr/lib/os-release",
    "etc/debian_version",
)
TOP = ("bin", "sbin", "lib", "lib64")
# What Alpine has outside /usr, where the two are not merged.
OUTSIDE = ("usr/bin/bash", "usr/bin/busybox", "usr/lib64/ld-linux-x86-64.so.2")
_LINKS = """\
#!/bin/busybox sh
/bin/busybox --install -s
exit 0
"""
# (Debian's busybox has no adduser.)
_USER = """\
#!/bin/sh
echo ".pre-install $1" >> /var/lib/extra-tool.calls
grep -q '^extra:' /etc/group || echo 'extra:x:777:' >> /etc/group
grep -q '^extra:' /etc/passwd || echo 'extra:x:777:777::/var/lib/extra-tool:/sbin/nologin' >> /etc/passwd
"""
_CALLED = """\
#!/bin/sh
echo "%s $*" >> /var/lib/extra-tool.calls
"""


@dataclass(frozen=True)
class Properties:
    """What the packages have of the real ones' properties; each can be switched off or on to see what finds it."""

    directories: bool = True  # each folder is an entry of its own
    merged: bool = False  # /bin, /sbin and /lib are links into /usr
    links: bool = True  # busybox makes its links


@dataclass(frozen=True)
class Mirror:
    """A mirror in ``folder``, and the key that signs all of it."""

    folder: Path
    key: Key

    @property
    def main(self) -> Path:
        """The folder of the repository that the bootstrap takes its packages from."""
        return self.folder / RELEASE / "main/x86_64"

    @property
    def community(self) -> Path:
        """The folder of the repository that has :data:`EXTRA`."""
        return self.folder / RELEASE / "community/x86_64"


def make(folder: Path, tree: DebianTree, apk: Path, key: Key, properties: Properties | None = None) -> Mirror:
    """Make the mirror in ``folder`` from a tree with :data:`PACKAGES` and an apk that is linked statically."""
    shutil.rmtree(folder, ignore_errors=True)
    properties = properties or Properties()
    packages = [
        replace(package, directories=properties.directories) for package in _packages(tree, apk, key, properties)
    ]
    mirror = Mirror(folder, key)
    write_repository(mirror.main, [package for package in packages if package.name != EXTRA], key)
    write_repository(mirror.community, [package for package in packages if package.name == EXTRA], key)
    return mirror


def version_of(apk: Path) -> str:
    """The version that an apk says of itself."""
    said = subprocess.run([str(apk), "--version"], capture_output=True, text=True, check=True).stdout
    match = re.match(r"apk-tools ([0-9.]+)", said)
    assert match, said
    return match[1]


def _packages(tree: DebianTree, apk: Path, key: Key, properties: Properties) -> Iterator[Package]:
    version = f"{version_of(apk)}-r0"
    program = apk.read_bytes()
    bin_, sbin = ("usr/bin", "usr/sbin") if properties.merged else ("bin", "sbin")
    yield from _sliced(tree, properties)
    yield Package("apk-tools", version, {f"{sbin}/apk": program}, depends=("musl",))
    yield Package("apk-tools-static", version, {f"{sbin}/apk.static": program})
    public = (key.public / key.name).read_bytes()
    yield Package("alpine-keys", "2.5-r0", {f"etc/apk/keys/{key.name}": public})
    number = RELEASE.removeprefix("v")
    system = f'NAME="Alpine Linux"\nID=alpine\nVERSION_ID={number}.1\nPRETTY_NAME="Alpine Linux {RELEASE}"\n'
    released = {"etc/alpine-release": f"{number}.1\n", "usr/lib/os-release": system}
    files = {path: text.encode() for path, text in released.items()} | {
        "etc/os-release": LINK + b"../usr/lib/os-release"
    }
    yield Package("alpine-release", f"{number}.1-r0", files, depends=("alpine-keys",))
    yield Package(
        "busybox-binsh",
        "1.37.0-r0",
        {f"{bin_}/sh": LINK + b"/bin/busybox"},
        depends=("busybox",),
        provides=("/bin/sh",),
        priority=100,
    )
    called = {name: _CALLED % name for name in (".post-install", ".trigger")}
    yield Package(
        EXTRA,
        "1.0-r0",
        {f"usr/bin/{EXTRA}": b"#!/bin/sh\necho extra\n", "var/lib/extra-tool/state": b"", "usr/share/größe": b""},
        depends=("/bin/sh", MORE),
        scripts={".pre-install": _USER} | called,
        triggers=("/usr/share/extra-tool",),
        owners={"var/lib/extra-tool/state": "extra"},
    )
    yield Package(MORE, "1.0-r0", {f"usr/bin/{MORE}": b"#!/bin/sh\necho more\n", "usr/share/extra-tool/more": b""})


def _sliced(tree: DebianTree, properties: Properties) -> Iterator[Package]:
    """Debian's packages under Alpine's names."""

    def name_of(debian: str) -> str:
        return NAMES.get(debian, debian)

    paths: dict[str, dict[str, str]] = {}
    depends: dict[str, set[str]] = {}
    versions: dict[str, str] = {}
    for name, part in tree.slices.items():
        if name in LEFT_OUT:
            continue
        own = name_of(name)
        versions.setdefault(own, re.sub(r"[^0-9.].*", "", part.version.rpartition(":")[2]).strip(".") or "1")
        depends.setdefault(own, set()).update(name_of(other) for other in part.depends if other not in LEFT_OUT)
        for path in part.paths:
            if not path.startswith(OF_DEBIAN) and (properties.merged or path not in TOP):
                paths.setdefault(own, {})[path] = _outside(path) if not properties.merged else path
    # Where /lib is a link, it is there before anything is below it.
    depends["musl"] = {"alpine-baselayout"} if properties.merged else set()
    depends["alpine-baselayout"] = set()
    for name, needs in sorted(depends.items()):
        package = Package(
            name,
            f"{versions[name]}-r0",
            {},
            depends=sorted(needs & depends.keys() - {name}),
            sliced=Sliced(tree.root, paths.get(name, {})),
        )
        if name == "alpine-baselayout":
            folders = {"dev": 0o755, "proc": 0o555, "sys": 0o555, "run": 0o755, "tmp": 0o1777, "root": 0o700}
            folders |= {} if properties.merged else dict.fromkeys(TOP, 0o755)
            shell = () if properties.merged else ("/bin/sh",)
            package = replace(package, folders=folders, depends=shell)
        if name == "busybox":
            package = replace(package, depends=("musl", *package.depends))
            if properties.links:
                scripts = {".post-install": _LINKS, ".trigger": _LINKS}
                package = replace(package, scripts=scripts, triggers=("/bin", "/usr/bin", "/sbin", "/usr/sbin"))
        yield package


def _outside(path: str) -> str:
    return path.removeprefix("usr/") if path in OUTSIDE else path
