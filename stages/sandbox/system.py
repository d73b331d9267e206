"""What an outside stage sees of the build image, which with the host engine is the machine: a list, and nothing else.

Whatever is not named here is not there for a script: homes, services' state and sockets, the machine's settings. What
is named is in the key of outside stages, by the build image's digest or, for the host engine, by :func:`state`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# Folders of the root with programs and libraries, read-only; links are links again.
PROGRAMS = ("bin", "gnu", "lib", "lib32", "lib64", "libx32", "nix", "sbin", "usr")
# Below /etc, read-only, where they are there: what programs need to start, and what bootstrap tools read.
ETC = (
    *("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "os-release", "debian_version", "lsb-release"),
    *("redhat-release", "system-release", "fedora-release", "arch-release", "gentoo-release"),
    *("apt/apt.conf", "apt/apt.conf.d", "apt/keyrings", "apt/trusted.gpg", "apt/trusted.gpg.d", "dpkg"),
    *("dnf", "libdnf5", "yum.conf", "yum.repos.d", "rpm", "zypp", "pacman.conf", "makepkg.conf"),
    *("ca-certificates", "ca-certificates.conf", "crypto-policies", "pki/ca-trust", "pki/tls", "pki/rpm-gpg"),
    *("ssl/cert.pem", "ssl/certs", "ssl/openssl.cnf", "gnutls"),
    *("bash.bashrc", "profile", "inputrc", "login.defs", "pam.conf", "pam.d", "security", "shells", "terminfo"),
    *("ethertypes", "gai.conf", "host.conf", "protocols", "rpc", "services", "netconfig"),
    *("libaudit.conf", "magic", "magic.mime", "mime.types", "mke2fs.conf", "mtools.conf", "perl", "python3"),
    *("locale.alias", "xattr.conf", "selinux/config"),
)
VAR = ("lib/ca-certificates",)  # where openSUSE has what /etc/ssl leads to
# Folders that are there, empty and writable.
EMPTY = (
    *("boot", "dev", "etc", "home", "media", "mnt", "opt", "proc", "root", "run/lock", "run/user", "srv", "sys", "tmp"),
    *("var/cache", "var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/misc", "var/log", "var/spool", "var/tmp"),
)
OPEN = ("tmp", "var/tmp", "run/lock")  # of those, where everybody may write
LINKS = {"var/run": "/run", "var/lock": "/run/lock"}
FILES = {
    "etc/hosts": "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n",
    "etc/hostname": "localhost\n",
    "etc/nsswitch.conf": "".join(
        f"{name}: {where}\n"
        for name, where in (
            *((name, "files") for name in ("passwd", "group", "shadow", "gshadow", "networks")),
            ("hosts", "files dns"),
            *((name, "db files") for name in ("protocols", "services", "ethers", "rpc")),
        )
    ),
    "etc/resolv.conf": "",
    "etc/fstab": "",
    "var/lib/dpkg/status": "",
    "var/lib/dpkg/available": "",
}
_PEOPLE = 1000  # user and group ids from here on are people's, up to nobody's
_NOBODY = 65534


def accounts(text: str) -> str:
    """A passwd or group file without people: what programs look up are the system's own names."""
    kept = []
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) < 4 or not fields[2].isdigit() or not (int(fields[2]) < _PEOPLE or int(fields[2]) == _NOBODY):
            continue
        if len(fields) == 4:  # a group: its members may be people
            fields[3] = ""
        kept.append(":".join(fields) + "\n")
    return "".join(kept)


def account_files() -> Iterator[tuple[str, str]]:
    """The files of accounts with their content, by their path below the root."""
    for name in ("passwd", "group"):
        try:
            text = Path("/etc", name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            text = ""
        yield f"etc/{name}", accounts(text)


def files() -> dict[str, str]:
    """The files that are made for a stage, by their path below the root: the same for all."""
    return {**FILES, **dict(account_files())}


def shown(tops: tuple[str, ...] = ("etc", "var")) -> Iterator[str]:
    """Everything on the lists of /etc and /var that this build image has, by its path below the root."""
    for top in tops:
        for name in ETC if top == "etc" else VAR:
            if os.path.lexists(f"/{top}/{name}"):
                yield f"{top}/{name}"


def hidden() -> tuple[str, ...]:
    """The names of the root's folders whose content outside stages do not see."""
    return tuple(sorted({entry.name for entry in os.scandir("/") if entry.name not in PROGRAMS}))


def state() -> str:
    """A text that changes with what is shown of this machine's /etc and /var: for keys of the host engine's stages."""
    lines = [f"{path} {text}" for path, text in account_files()]
    for path in shown():
        lines += _state(f"/{path}")
    return "\n".join(lines)


def _state(path: str) -> Iterator[str]:
    """A link is told by its folder's time of change; a file by its own, too, for who writes into it."""
    status = os.lstat(path)
    yield f"{path} {status.st_mode:o} {status.st_size} {status.st_mtime_ns}"
    if not os.path.isdir(path) or os.path.islink(path):  # noqa: PTH112, PTH114 (in every build that changes nothing)
        return
    try:
        entries = sorted(os.scandir(path), key=lambda entry: entry.name)
    except PermissionError:  # nor can a stage look into it
        return
    for entry in entries:
        if not entry.is_symlink():
            yield from _state(entry.path)
