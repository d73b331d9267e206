"""What a build must know of the image that it begins with: distribution, release, package manager, repositories."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from stages.repositories.apt_sources import deb822, one_line
from stages.repositories.state import METALINK, MIRRORLIST, index_of

OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")
# Where package managers have their repositories, and which file names count there.
PLACES = re.compile(
    r"/etc/(apt/sources\.list(\.d/[^/]+\.(list|sources))?|yum\.repos\.d/[^/]+\.repo|zypp/repos\.d/[^/]+\.repo|"
    r"dnf/vars/[^/]+|yum/vars/[^/]+|apk/(repositories|arch)|pacman\.d/mirrorlist|pacman\.conf)$"
)
# The element that installs packages, by the first of these programs that the image has.
MANAGERS = {
    "apt-get": "dpkg",
    "dnf5": "yum",
    "dnf": "yum",
    "microdnf": "yum",
    "yum": "yum",
    "zypper": "zypper",
    "pacman": "pacman",
    "apk": "apk",
    "emerge": "portage",
}
REPOMD = "repodata/repomd.xml"
FOLDERS = ("/usr/bin", "/bin", "/usr/sbin", "/sbin")
RPM_ARCH = {"amd64": "x86_64", "arm64": "aarch64", "i386": "i686", "armhf": "armv7hl", "ppc64el": "ppc64le"}


@dataclass(frozen=True)
class BaseImageInfo:
    """What the image says of itself: ``distribution`` and ``release`` as diskimage-builder names them.

    ``manager`` is the element that installs its packages ("": none is known), ``repositories`` are lines of
    ``DIB_CTR_REPOSITORIES``, ``config`` is what its own configuration says, as ``stages.element.image_config`` has it.
    ``date`` is when it was made, in seconds since 1970 (0: it does not say). ``bash``: has it one.
    """

    distribution: str
    release: str
    init: str
    manager: str
    repositories: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    date: int = 0
    bash: bool = True

    def as_json(self) -> dict[str, Any]:
        """The facts as plain data, which JSON can hold; ``blockdev.core.typed_json`` reads them back."""
        return {**asdict(self), "repositories": list(self.repositories)}


def has_facts(path: str) -> bool:
    """Is this a file whose content :func:`told_by` reads."""
    return path in OS_RELEASE or PLACES.match(path) is not None


def told_by(files: Mapping[str, str], programs: frozenset[str], config: Mapping[str, Any], arch: str) -> BaseImageInfo:
    """The facts: ``files`` has contents by path, ``programs`` the paths of all that lies in the folders of programs.

    ``config`` is the image configuration's part of the same name (OCI image specification, config.md).
    """
    os_release = next((_os_release(files[path]) for path in OS_RELEASE if path in files), {})
    names = {posixpath.basename(path) for path in programs}
    distribution = _distribution(os_release.get("ID", ""))
    release = _release(distribution, os_release)
    init = "systemd" if "/usr/lib/systemd/systemd" in programs or "systemctl" in names else _init(names)
    manager = next((element for program, element in MANAGERS.items() if program in names), "")
    lines = dict.fromkeys(_repositories(files, distribution, release, arch)) if manager else {}
    return BaseImageInfo(distribution, release, init, manager, tuple(lines), settings(config), bash="bash" in names)


def _os_release(text: str) -> dict[str, str]:
    """The assignments of os-release(5)."""
    settings = {}
    for line in text.splitlines():
        name, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            try:
                settings[name.strip()] = "".join(shlex.split(value))
            except ValueError:
                continue
    return settings


def _distribution(identity: str) -> str:
    return "opensuse" if identity.startswith("opensuse") else identity


def _release(distribution: str, os_release: Mapping[str, str]) -> str:
    version = os_release.get("VERSION_ID", "")
    if distribution in ("debian", "ubuntu"):
        return os_release.get("VERSION_CODENAME", version) or "unstable"
    if distribution == "centos":
        return f"{version}-stream"
    if distribution in ("rocky", "almalinux", "rhel"):
        return version.partition(".")[0]
    if distribution == "opensuse" and os_release.get("ID", "").endswith("tumbleweed"):
        return "tumbleweed"
    return version or "rolling"


def _init(names: set[str]) -> str:
    return "openrc" if "openrc" in names or "rc-service" in names else "systemd"


# -- repositories ---------------------------------------------------------------------------------------------------


def _repositories(files: Mapping[str, str], distribution: str, release: str, arch: str) -> Iterator[str]:
    machine = RPM_ARCH.get(arch, arch)
    own = {posixpath.basename(path): text.strip() for path, text in files.items() if "/vars/" in path}
    for path, text in sorted(files.items()):
        if path.endswith((".list", "sources.list")):
            yield from (f"{uri}-{suite} {index_of(uri, suite)}" for uri, suite in one_line(text) if "://" in uri)
        elif path.endswith(".sources"):
            yield from (f"{uri}-{suite} {index_of(uri, suite)}" for uri, suite in deb822(text) if "://" in uri)
        elif path.endswith(".repo"):
            version = release.removesuffix("-stream")
            variables = {"releasever": version, "basearch": machine, "arch": machine, "stream": release, **own}
            yield from _repo_file(text, variables)
        elif path == "/etc/apk/repositories":
            for line in text.split("\n"):
                if "://" in line and not line.startswith("#"):
                    yield f"{line.strip()} {line.strip().split()[-1].rstrip('/')}/{machine}/APKINDEX.tar.gz"
        elif path == "/etc/pacman.d/mirrorlist":
            yield from _pacman(text, files.get("/etc/pacman.conf", ""), machine)


def _repo_file(text: str, variables: Mapping[str, str]) -> Iterator[str]:
    """The enabled repositories of a .repo file (dnf.conf(5), zypper(8))."""
    for section in re.split(r"^\[", text, flags=re.MULTILINE)[1:]:
        name, _, rest = section.partition("]")
        options = {
            key.strip(): value.strip()
            for key, separator, value in (line.partition("=") for line in rest.splitlines())
            if separator and not key.startswith("#")
        }
        if options.get("enabled", "1").lower() in ("0", "no", "false"):
            continue
        for key in ("metalink", "mirrorlist", "baseurl"):
            address = _filled(re.split(r"[,\s]", options.get(key, ""))[0], variables)
            if "://" in address:
                yield f"{name} {_index(key, address, variables['basearch'])}"
                break


def _index(key: str, address: str, machine: str) -> str:
    """Where a repository's index is, as ``DIB_CTR_REPOSITORIES`` says it, by the option that names the repository."""
    if key == "metalink":
        return METALINK + address
    if key == "mirrorlist":
        return f"{MIRRORLIST}{address} {REPOMD} basearch={machine}"
    return f"{address.rstrip('/')}/{REPOMD}"


def _filled(text: str, variables: Mapping[str, str]) -> str:
    return re.sub(r"\$\{?(\w+)\}?", lambda match: variables.get(match[1], match[0]), text)


def _pacman(mirrors: str, settings_text: str, machine: str) -> Iterator[str]:
    server = re.search(r"^Server\s*=\s*(\S+)", mirrors, re.MULTILINE)
    for name in re.findall(r"^\[(?!options\])([^]]+)\]", settings_text, re.MULTILINE):
        if server:
            address = server[1].replace("$repo", name).replace("$arch", machine)
            yield f"{name} {address.rstrip('/')}/{name}.db"


# -- configuration ----------------------------------------------------------------------------------------------------


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The image configuration as ``stages.element.image_config`` has it."""
    pairs = (text.partition("=") for text in config.get("Env") or ())
    result: dict[str, Any] = {
        "entrypoint": config.get("Entrypoint"),
        "cmd": config.get("Cmd"),
        "env": {name: value for name, _, value in pairs if name != "PATH"},
        "user": config.get("User"),
        "workdir": config.get("WorkingDir"),
        "volumes": sorted(config.get("Volumes") or ()),
        "ports": sorted(config.get("ExposedPorts") or ()),
        "stop-signal": config.get("StopSignal"),
    }
    return {key: value for key, value in result.items() if value}
