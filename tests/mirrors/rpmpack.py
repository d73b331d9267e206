"""From a Debian tree to a spec file: whose files are whose, under an RPM distribution's names for packages and places.

The tree's own files are packed: no maintainer script of Debian's runs. Scriptlets are those that matter of the real
packages: ldconfig of glibc, kernel-install of the kernel.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.mirrors import uefi
from tests.mirrors.debian import SSH_ENABLED, SSH_UNIT, DebianTree, cloud_config, cloud_units
from tests.mirrors.rpmnames import KERNEL, LEFT_OUT, Distribution
from tests.mirrors.rpmproperties import NONE, Properties
from tests.mirrors.subscription import SUBSCRIPTION_MANAGER

EPOCH = 1_760_000_000  # when all packages were built and all indices made, in seconds
_SPEC_HEAD = """\
%global __os_install_post %{nil}
%global __spec_install_pre %{nil}
%global debug_package %{nil}
%global _build_id_links none
%define _binary_payload w1.zstdio
%define _unpackaged_files_terminate_build 0
Name: synthetic
Version: 1
Release: 1
Summary: All packages of a synthetic mirror
License: Various
AutoReqProv: no
%description
All packages of a synthetic mirror.
"""
# None of these distributions has init scripts; Debian's systemctl would look after them by a tool that is not there.
_SYSV = re.compile(r"etc/(init|rc[0-9S])\.d/|usr/lib/systemd/systemd-sysv-install$")
_CLOUD = "etc/cloud/cloud.cfg"
EXTRA = "extra-tool"  # a package of no use, for tests that install one


@dataclass
class Group:
    """One RPM to be: ``paths`` are relative to the build root."""

    version: str
    description: str
    depends: set[str] = field(default_factory=set)
    paths: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)  # more of its preamble: Provides, Recommends
    lines: list[str] = field(default_factory=list)  # its scriptlets, as they are in a spec
    owners: dict[str, str] = field(default_factory=dict)  # "USER,GROUP" of paths whose users the tree does not know


@dataclass
class Pack:
    """Makes the packages of one distribution's release from a copy of a tree at ``root``."""

    distribution: Distribution
    release: str
    tree: DebianTree
    root: Path
    properties: Properties = NONE
    groups: dict[str, Group] = field(default_factory=dict)

    def name(self, debian: str) -> str:
        """What the distribution calls a package of Debian's."""
        if debian.startswith(KERNEL):
            return self.distribution.kernel
        return self.distribution.names.get(debian, debian)

    def collect(self) -> None:
        """Group the tree's slices under the distribution's names, and add what only the distribution has."""
        for name, part in self.tree.slices.items():
            if name in LEFT_OUT:
                continue
            version = re.sub(r"[^A-Za-z0-9.]", "_", part.version.rpartition(":")[2])
            group = self.groups.setdefault(self.name(name), Group(version, part.description))
            group.depends |= {self.name(other) for other in part.depends if other not in LEFT_OUT}
            kept = [path for path in part.paths if not _SYSV.match(path) and not SSH_ENABLED.match(path)]
            group.paths += [path for path in kept if os.path.lexists(self.root / path)]
        # A small mirror has no part of a machine.
        if self.distribution.kernel in self.groups:
            self._kernel()
        self._shell()
        if self.name("grub2-common") in self.groups:
            # While GRUB's programs are where Debian has them.
            loaders = uefi.files(self.root, self.distribution.loaders, self.distribution.machine)
            self._rename_grub()
            self._add_files(loaders)
        if self.name("openssh-server") in self.groups:
            self._rename_sshd()
        if "selinux-policy-targeted" in self.groups:
            self._add_policy()
        self._add_own()
        self.groups["glibc"].lines.append("%post -n glibc -p /usr/sbin/ldconfig")
        if "dracut" in self.groups:
            self.groups["dracut"].depends |= {"grep", "sed", "cpio", "gzip", "zstd", "findutils", "util-linux", "kmod"}
        if "logger" in self.groups:
            del self.groups["logger"]

    def _kernel(self) -> None:
        """The kernel's files lie with its modules, as these distributions have it, where kernel-install finds them."""
        group = self.groups[self.distribution.kernel]
        version = next(path.partition("vmlinuz-")[2] for path in group.paths if path.startswith("boot/vmlinuz-"))
        for path in [path for path in group.paths if path.startswith("boot/")]:
            place = f"usr/lib/modules/{version}/{Path(path).name.partition('-')[0]}"
            (self.root / path).rename(self.root / place)
            group.paths[group.paths.index(path)] = place
        group.depends = {"filesystem"}
        name = self.distribution.kernel
        group.tags.append("Provides: installonlypkg(kernel)")
        command = f"kernel-install add {version} /usr/lib/modules/{version}/vmlinuz"
        group.lines += [f"%posttrans -n {name}", f"if command -v kernel-install > /dev/null; then {command}; fi"]

    def _shell(self) -> None:
        """/bin/sh is bash."""
        if "dash" in self.groups:
            self.groups["dash"].paths = [path for path in self.groups["dash"].paths if path != "usr/bin/sh"]
        (self.root / "usr/bin/sh").unlink()
        (self.root / "usr/bin/sh").symlink_to("bash")
        self.groups["bash"].paths.append("usr/bin/sh")
        self.groups["bash"].tags.append("Provides: /bin/sh")

    def _rename_grub(self) -> None:
        """GRUB's programs are called grub2-*, and SUSE's modules have another place."""
        self._move("usr/lib/grub/", f"{self.distribution.modules}/")
        group = self.groups[self.name("grub2-common")]
        for number, path in enumerate(group.paths):
            if path.startswith(("usr/bin/grub-", "usr/sbin/grub-")):
                place = path.replace("/grub-", "/grub2-")
                (self.root / path).rename(self.root / place)
                group.paths[number] = place

    def _rename_sshd(self) -> None:
        paths = self.groups[self.name("openssh-server")].paths
        place = SSH_UNIT.replace("/ssh.", "/sshd.")
        (self.root / SSH_UNIT).rename(self.root / place)
        paths[paths.index(SSH_UNIT)] = place

    def _move(self, before: str, after: str) -> None:
        """What is below one folder, to another one."""
        if before == after:
            return
        for group in self.groups.values():
            for number, path in enumerate(group.paths):
                if path.startswith(before) or path == before.rstrip("/"):
                    group.paths[number] = (after + path[len(before) :]).rstrip("/")
        (self.root / after).parent.mkdir(parents=True, exist_ok=True)
        (self.root / before).rename(self.root / after)

    def _add_files(self, packages: Mapping[str, Mapping[str, bytes]]) -> None:
        for package, files in packages.items():
            group = self.groups.setdefault(package, Group("1", package, {"filesystem"}))
            for path, content in files.items():
                self.write(path, content)
                group.paths.append(path)

    def _add_policy(self) -> None:
        """Debian's policy, which its scripts have compiled, under the name that these distributions give it."""
        for group in self.groups.values():
            group.paths = [path for path in group.paths if not path.startswith(("etc/selinux", "var/lib/selinux"))]
        place = "etc/selinux/targeted"
        (self.root / "etc/selinux/default").rename(self.root / place)
        found = [str(file.relative_to(self.root)) for file in (self.root / place).rglob("*")]
        self.groups["selinux-policy-targeted"].paths += [place, *found]
        config = "SELINUX=enforcing\nSELINUXTYPE=targeted\n"
        self.write("etc/selinux/config", config.encode())
        self.groups["selinux-policy-targeted"].paths += ["etc/selinux", "etc/selinux/config"]

    def _add_own(self) -> None:
        own, release = self.distribution.identity, self.release.removesuffix("-stream")
        title = f'NAME="{own}"\nID="{own}"\nVERSION_ID="{release}"\nPRETTY_NAME="{own} {release} (synthetic mirror)"\n'
        self.add(self.distribution.release, {"usr/lib/os-release": title, "etc/os-release": "->../usr/lib/os-release"})
        folder = "etc/zypp/repos.d" if own.startswith("opensuse") else "etc/yum.repos.d"
        text = f"[{own}]\nname={own}\nbaseurl=http://mirror.invalid/{own}\nenabled=1\ngpgcheck=1\n"
        if self.distribution.repos:
            self.add(self.distribution.repos, {f"{folder}/{own}.repo": text})
        if own.startswith("opensuse"):
            self.groups[self.distribution.repos].tags.append("Provides: openSUSE-repos")
        elif own == "rhel":
            self.add("subscription-manager", {"usr/sbin/subscription-manager": SUBSCRIPTION_MANAGER}, ("bash", "dnf"))
            self.write("etc/rhsm/rhsm.conf", b"[rhsm]\nbaseurl =\n")
            self.groups["subscription-manager"].paths += ["etc/rhsm", "etc/rhsm/rhsm.conf"]
        self.add(EXTRA, {f"usr/bin/{EXTRA}": "#!/bin/sh\necho extra\n"}, ("bash",))
        self._add_database()
        if (self.root / _CLOUD).exists():
            config = (self.root / _CLOUD).read_text()
            self._replace(_CLOUD, cloud_config(config, own.partition("-")[0], ("network-manager",)))
            self.groups["cloud-init"].depends.add("hostname")
            for path, text in cloud_units(self.root).items():
                self._replace(path, text)
        for name, depends in self.distribution.empty.items():
            if name not in self.groups:
                self.add(name, {}, depends)

    def _add_database(self) -> None:
        """The place and the only format of rpm's database; its package makes an empty one where there is none."""
        place, backend = self.distribution.database, self.distribution.backend
        macros = f"%_dbpath {place}\n%_db_backend {backend}\n"
        self.write("usr/lib/rpm/macros.d/macros.distribution", macros.encode())
        group = self.groups["rpm"]
        group.paths.append("usr/lib/rpm/macros.d/macros.distribution")
        if (
            backend == "ndb" and self.properties.sole_database_format
        ):  # built without sqlite: a database in that format is none to it
            (library,) = (file for file in self.root.glob("usr/lib/*/librpm.so.*") if not file.is_symlink())
            data = library.read_bytes()
            library.unlink()  # it is a link to the other mirrors' one
            library.write_bytes(data.replace(b"rpmdb.sqlite\0", b"rpmdb.absent\0"))
        first = {"ndb": "Packages.db", "sqlite": "rpmdb.sqlite"}[backend]
        if self.properties.sole_database_format:
            # While another rpm installs it, which holds the lock.
            make = "rpmdb --define '_rpmlock_path /var/lib/made.lock' --initdb && rm -f /var/lib/made.lock"
            group.lines += ["%post -n rpm", f"test -e {place}/{first} || {{ {make}; }}"]

    def add(self, name: str, files: Mapping[str, str], depends: Iterable[str] = ("filesystem",)) -> None:
        """Add a package of these files, by path."""
        for path, text in files.items():
            self.write(path, text.encode())
        version = re.sub(r"[^0-9.]", "", self.release) or "1"
        self.groups[name] = Group(version, name, set(depends), list(files))

    def _replace(self, path: str, text: str) -> None:
        """Change a file in its package. The tree's is a link to the other mirrors' one."""
        (self.root / path).unlink()
        (self.root / path).write_text(text)

    def write(self, path: str, content: bytes) -> None:
        """Write a file into the build root; no package has it yet. ``->PLACE`` is a link."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(place):
            place.unlink()  # it is a link to the other mirrors' one
        for group in self.groups.values():
            if path in group.paths:
                group.paths.remove(path)
        if content.startswith(b"->"):
            place.symlink_to(content.removeprefix(b"->").decode())
        else:
            place.write_bytes(content)
            place.chmod(0o755 if content.startswith(b"#!") else 0o644)

    # -- the spec file ---------------------------------------------------------------------------------------------

    def spec(self, folder: Path) -> str:
        """One spec file with a subpackage for each group; lists of files go to ``folder``."""
        users, groups = _ids(self.root / "etc/passwd"), _ids(self.root / "etc/group")
        text = [_SPEC_HEAD]
        for name, group in sorted(self.groups.items()):
            listed = folder / f"{name}.files"
            listed.write_text(
                "".join(
                    _listed(self.root, path, group.owners.get(path) or _owner(self.root / path, users, groups))
                    for path in sorted(set(group.paths))
                )
            )
            needs = set[str]() if name in ("filesystem", "setup") else {"filesystem", *group.depends} - {name}
            text += [
                f"%package -n {name}",
                f"Version: {group.version}",
                f"Release: 1.{self.distribution.identity.replace('-', '_')}",
                f"Summary: {_escaped(group.description)}",
                "AutoReqProv: no",
                *(f"Requires: {each}" for each in sorted(needs & self.groups.keys())),
                *group.tags,
                f"%description -n {name}",
                _escaped(group.description),
                *group.lines,
                f"%files -n {name}" + (f" -f {listed}" if group.paths else ""),
            ]
        return "\n".join(text) + "\n"


def _ids(file: Path) -> dict[int, str]:
    return {int(line.split(":")[2]): line.split(":")[0] for line in file.read_text().splitlines()}


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _owner(place: Path, users: Mapping[int, str], groups: Mapping[int, str]) -> str:
    state = place.lstat()
    return f"{users.get(state.st_uid, 'root')},{groups.get(state.st_gid, 'root')}"


def _listed(root: Path, path: str, owner: str) -> str:
    """A line of a list of files: owner (USER,GROUP), mode and kind; configuration is marked as such."""
    place = root / path
    state = place.lstat()
    is_link = place.is_symlink()
    mode = "-" if is_link else f"{state.st_mode & 0o7777:04o}"
    kind = "%dir " if place.is_dir() and not is_link else ""
    if path.startswith("etc/") and not kind and not is_link:
        kind = "%config(noreplace) "
    return f'%attr({mode},{owner}) {kind}"/{_escaped(path)}"\n'
