"""What the synthetic mirrors' packages are made of: a Debian tree, and which package each of its files belongs to.

The tree is bootstrapped with all maintainer scripts, so that packages sliced out of it need none of their own: users,
alternatives and enabled services are files like others.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from qemu.architecture import native, runs
from stages.repositories import apt_sources

SUITE = "trixie"
# Debian's own package management, what bootstraps leave behind, and what lies on file systems of a running machine.
LEFT_OUT = re.compile(
    r"(dev|proc|sys|run|tmp)/.|var/(lib/(dpkg|apt|ucf|systemd/deb-systemd\S*)|cache|log|backups)/.|"
    r"etc/(hostname|resolv\.conf|machine-id|\.pwd\.lock|(passwd|group|g?shadow)-|apt|dpkg|kernel-img\.conf)($|/)|"
    r"etc/ssh/ssh_host_|(boot/initrd|initrd|vmlinuz)[^/]*$|usr/share/(doc|man|info|locale|lintian|bug)/."
)
# Only Debian's family calls the server's unit so, and enables it; all others call it sshd.service.
SSH_UNIT = "usr/lib/systemd/system/ssh.service"
SSH_ENABLED = re.compile(r"etc/systemd/system/(sshd\.service$|[^/]+\.(wants|requires)/ssh\.service$)")
_INSTALL = """\
#!/bin/bash
set -eu -o pipefail
export INITRD=No
install-packages {}
"""
_RELATION = re.compile(r"([a-z0-9][a-z0-9+.-]+)")


@dataclass(frozen=True)
class Slice:
    """One Debian package: its name, version, dependencies (names of other slices) and paths, relative and sorted."""

    name: str
    version: str
    depends: tuple[str, ...]
    description: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class DebianTree:
    """A bootstrapped Debian tree at ``root``; read-only for all who look at it."""

    root: Path
    _memo: dict[str, Slice] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def slices(self) -> Mapping[str, Slice]:
        """All packages by name. Every path of the tree is in exactly one; ``base-files`` has what belongs to none."""
        owners = self._owners()
        paths: dict[str, list[str]] = {}
        for path in self._paths():
            paths.setdefault(owners.get(path) or self._adopted(path, owners), []).append(path)
        status = dict(self._status())
        names = {provided: name for name, entry in status.items() for provided in _provided(name, entry)}
        return {
            name: Slice(
                name,
                entry["Version"],
                tuple(sorted(_depends(entry, names) - {name})),
                entry.get("Description", name).splitlines()[0],
                tuple(paths.get(name, ())),
            )
            for name, entry in status.items()
        }

    def closure(self, names: Iterable[str]) -> tuple[Slice, ...]:
        """These packages and all that they depend on, sorted by name."""
        found: dict[str, Slice] = {}
        pending = list(names)
        while pending:
            name = pending.pop()
            if name not in found:
                found[name] = self.slices[name]
                pending.extend(found[name].depends)
        return tuple(found[name] for name in sorted(found))

    def _paths(self) -> Iterator[str]:
        for folder, folders, files in os.walk(self.root):
            folders.sort()
            for name in sorted((*folders, *files)):
                path = str((Path(folder) / name).relative_to(self.root))
                if not LEFT_OUT.match(path):
                    yield path

    def _owners(self) -> dict[str, str]:
        """The package of each path; of a folder that several have, the first one by name, ``base-files`` before all."""
        owners: dict[str, str] = {}
        lists = sorted(
            (self.root / "var/lib/dpkg/info").glob("*.list"), key=lambda file: (file.stem != "base-files", file.stem)
        )
        for file in lists:
            name = file.stem.partition(":")[0]
            for line in file.read_text().splitlines():
                owners.setdefault(self._merged(line.lstrip("/")), name)
        return owners

    def _merged(self, path: str) -> str:
        """A path below the links that lead into /usr, where the file really is."""
        top, _, rest = path.partition("/")
        return f"usr/{path}" if rest and (self.root / top).is_symlink() else path

    def _adopted(self, path: str, owners: Mapping[str, str]) -> str:
        """Whose a path is that no package lists: of what a link leads to, else of the folder it is in."""
        place = self.root / path
        seen = 0
        while place.is_symlink() and seen < 8:
            target = str(place.readlink())
            place = self.root / target.lstrip("/") if target.startswith("/") else place.parent / target
            name = owners.get(self._merged(os.path.relpath(os.path.normpath(place), self.root)))
            if name:
                return name
            seen += 1
        for part in Path(path).parents:  # compiled Python, modules' tables: beside what they are made of
            if str(part).startswith(("usr/lib/python3", "usr/lib/modules/", "usr/share/")) and str(part) in owners:
                return owners[str(part)]
        return "base-files"

    def _status(self) -> Iterator[tuple[str, dict[str, str]]]:
        text = (self.root / "var/lib/dpkg/status").read_text(encoding="utf-8")
        for paragraph in text.strip().split("\n\n"):
            entry: dict[str, str] = {}
            key = ""
            for line in paragraph.splitlines():
                if line[0] in " \t":
                    entry[key] += "\n" + line
                else:
                    key, _, value = line.partition(":")
                    entry[key] = value.strip()
            yield entry["Package"], entry


def cloud_config(text: str, distribution: str, renderers: Iterable[str]) -> str:
    """Debian's cloud.cfg as a distribution has it: its name for cloud-init, its user, and who sets up its network."""
    found, count = re.subn(r"(?m)^( +distro:|( +)name:) debian$", rf"\1 {distribution}", text)
    assert count == 2, text
    network = f"network:\n      renderers: [{', '.join(renderers)}]"
    return re.sub(r"(?m)^( +)(distro: .*)$", rf"\1\2\n\1{network}", found)


def cloud_units(root: Path) -> dict[str, str]:
    """cloud-init's units by path as other families have them: after the bus, by which machines are named.

    (cloud-init: systemd/cloud-init-*.service.tmpl.)
    """
    found = {}
    for name in ("main", "local", "network"):
        path = f"usr/lib/systemd/system/cloud-init-{name}.service"
        text = (root / path).read_text(encoding="utf-8")
        text, count = re.subn(r"(?m)^DefaultDependencies=no\n", "", text)
        assert count == 1, text
        text = text.replace("Before=sysinit.target\n", "")
        if name == "main":
            text = text.replace("[Unit]\n", "[Unit]\nRequires=dbus.socket\nAfter=dbus.socket\n", 1)
        found[path] = text
    return found


def _provided(name: str, entry: Mapping[str, str]) -> list[str]:
    return [
        name,
        *(found[1] for part in entry.get("Provides", "").split(",") if (found := _RELATION.match(part.strip()))),
    ]


def _depends(entry: Mapping[str, str], names: Mapping[str, str]) -> set[str]:
    found = set()
    for part in f"{entry.get('Pre-Depends', '')},{entry.get('Depends', '')}".split(","):
        choices = [match[1] for choice in part.split("|") if (match := _RELATION.match(choice.strip()))]
        found.update([names[choice] for choice in choices if choice in names][:1])
    return found


def bootstrap(root: Path, packages: Iterable[str], architecture: str = "amd64") -> DebianTree:
    """The Debian tree of these packages and the essential ones, made at ``root``; kept if it is there."""
    if not (root / "var/lib/dpkg/status").exists():
        made = root.with_name(f"{root.name}.new")
        root.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["rm", "-rf", str(made)], check=True)
        if runs(native(), architecture):
            _bootstrap(made, packages, architecture)
        else:
            _build(made, packages, architecture)
        made.rename(root)
    return DebianTree(root)


def _bootstrap(made: Path, packages: Iterable[str], architecture: str) -> None:
    mirror = apt_sources.debian_mirror()
    argv = [
        *("mmdebstrap", "--mode=root", "--format=directory", "--variant=apt", "--quiet"),
        *(f"--architectures={architecture}", "--skip=check/empty,check/qemu,chroot/mount/sys"),
        f"--include={','.join(sorted(packages))}",
        *(f"--aptopt={line.rstrip(';')}" for line in apt_sources.settings()),
        *('--aptopt=APT::Sandbox::User "root"', '--aptopt=Acquire::Languages "none"'),
        "--dpkgopt=force-unsafe-io",
        *(SUITE, str(made), *mirror.sources(SUITE).splitlines()),
    ]
    # No initial ram disk: the mirrors' kernels make theirs where they are installed, as the distributions' do.
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "INITRD": "No"}
    subprocess.run(argv, check=True, env=environment)


def _build(made: Path, packages: Iterable[str], architecture: str) -> None:
    """By dib-ctr itself, which needs no registration of an interpreter on this machine."""
    work = made.with_name(f"{made.name}.work")
    subprocess.run(["rm", "-rf", str(work)], check=True)
    element = work / "elements/mirror-tree"
    script = element / "install.d/50-mirror-tree"
    script.parent.mkdir(parents=True)
    # No initial ram disk, as above: interpreted, it takes minutes.
    script.write_text(_INSTALL.format(" ".join(sorted(packages))))
    script.chmod(0o755)
    argv = [
        *(sys.executable, "-m", "builder.cli", "build", "--engine", "host", "--progress", "plain"),
        *("--arch", architecture, "--release", SUITE, "--store", str(work / "store"), "--dest", str(work / "out")),
        *("--elements-path", str(work / "elements"), "--no-slim", "--name", "tree", "-o", "tar"),
        *("debian-minimal", "mirror-tree"),
    ]
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        message = f"the tree of {architecture} was not built:\n{done.stderr[-3000:]}"
        raise RuntimeError(message)
    made.mkdir()
    subprocess.run(["tar", "-xpf", str(work / "out/tree.tar"), "-C", str(made)], check=True)
    subprocess.run(["rm", "-rf", str(work)], check=True)
