"""Synthetic RPM mirrors: Debian's programs as signed RPMs under a distribution's names, with its layout and metadata.

The tree's own files are packed: no maintainer script of Debian's runs. Scriptlets are those that matter of the real
packages: ldconfig of glibc, kernel-install of the kernel.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.mirrors.debian import SSH_ENABLED, SSH_UNIT, DebianTree, bootstrap, cloud_config
from tests.mirrors.keys import Key
from tests.mirrors.rpmnames import DISTRIBUTIONS, KERNEL, LEFT_OUT, Distribution

EPOCH = 1_760_000_000  # when all packages were built and all indices made, in seconds
PACKAGES = (  # of Debian, with all that they need
    *("systemd-sysv", "udev", "libpam-systemd", "dbus", "kmod", "login", "passwd", "iproute2", "procps", "e2fsprogs"),
    *("linux-image-cloud-amd64", "dracut", "grub2-common", "grub-pc-bin", "grub-efi-amd64-bin", "openssh-server"),
    *("sudo", "ca-certificates", "curl", "cpio", "hostname", "less", "tzdata", "xz-utils", "bzip2", "zstd"),
    *("dnf", "rpm", "zypper", "python3", "network-manager", "cloud-init", "cloud-guest-utils", "gdisk", "parted"),
)
_SPEC_HEAD = """\
%global __os_install_post %{nil}
%global __spec_install_pre %{nil}
%global debug_package %{nil}
%global _build_id_links none
%define _binary_payload w1.gzdio
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
_EXTRA = "extra-tool"  # a package of no use, for tests that install one


@dataclass(frozen=True)
class Mirror:
    """A synthetic mirror in ``folder``: the packages' public ``key``, the folders of its repositories (relative)."""

    folder: Path
    key: Path
    places: tuple[str, ...]

    @property
    def packages(self) -> Path:
        """The folder with the packages."""
        return self.folder / self.places[0] / "Packages"

    def package(self, name: str) -> Path:
        """The file of a package."""
        (found,) = self.packages.glob(f"{name}-[0-9]*.rpm")
        return found


@dataclass
class _Group:
    """One RPM to be: ``paths`` are relative to the build root."""

    version: str
    description: str
    depends: set[str] = field(default_factory=set)
    paths: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)  # more of its spec: Provides, scriptlets


@dataclass
class _Pack:
    """Makes the packages of one distribution's release from a copy of a tree at ``root``."""

    distribution: Distribution
    release: str
    tree: DebianTree
    root: Path
    groups: dict[str, _Group] = field(default_factory=dict)

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
            group = self.groups.setdefault(self.name(name), _Group(version, part.description))
            group.depends |= {self.name(other) for other in part.depends if other not in LEFT_OUT}
            kept = [path for path in part.paths if not _SYSV.match(path) and not SSH_ENABLED.match(path)]
            group.paths += [path for path in kept if os.path.lexists(self.root / path)]
        if self.distribution.kernel in self.groups:
            self._kernel()
        self._shell()
        if self.name("grub2-common") in self.groups:
            self._rename_grub()
        self._rename_sshd()
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
        group.lines.append("Provides: installonlypkg(kernel)")
        command = f"kernel-install add {version} /usr/lib/modules/{version}/vmlinuz"
        group.lines += [f"%posttrans -n {name}", f"if command -v kernel-install > /dev/null; then {command}; fi"]

    def _shell(self) -> None:
        """/bin/sh is bash."""
        if "dash" in self.groups:
            self.groups["dash"].paths = [path for path in self.groups["dash"].paths if path != "usr/bin/sh"]
        (self.root / "usr/bin/sh").unlink()
        (self.root / "usr/bin/sh").symlink_to("bash")
        self.groups["bash"].paths.append("usr/bin/sh")
        self.groups["bash"].lines.append("Provides: /bin/sh")

    def _rename_grub(self) -> None:
        """GRUB's programs are called grub2-*."""
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

    def _add_own(self) -> None:
        own, release = self.distribution.identity, self.release.removesuffix("-stream")
        title = f'NAME="{own}"\nID="{own}"\nVERSION_ID="{release}"\nPRETTY_NAME="{own} {release} (synthetic mirror)"\n'
        self._add(self.distribution.release, {"usr/lib/os-release": title, "etc/os-release": "->../usr/lib/os-release"})
        folder = "etc/zypp/repos.d" if own.startswith("opensuse") else "etc/yum.repos.d"
        text = f"[{own}]\nname={own}\nbaseurl=http://mirror.invalid/{own}\nenabled=1\ngpgcheck=1\n"
        self._add(self.distribution.repos, {f"{folder}/{own}.repo": text})
        if own.startswith("opensuse"):
            self.groups[self.distribution.repos].lines.append("Provides: openSUSE-repos")
        self._add(_EXTRA, {f"usr/bin/{_EXTRA}": "#!/bin/sh\necho extra\n"}, ("bash",))
        macros = f"%_dbpath {self.distribution.database}\n%_db_backend sqlite\n"
        self._write("usr/lib/rpm/macros.d/macros.distribution", macros)
        self.groups["rpm"].paths.append("usr/lib/rpm/macros.d/macros.distribution")
        config = "SELINUX=enforcing\nSELINUXTYPE=targeted\n"
        contexts = "/.* system_u:object_r:default_t:s0\n/etc(/.*)? system_u:object_r:etc_t:s0\n"
        where = "etc/selinux/targeted/contexts/files/file_contexts"
        self._add("selinux-policy-targeted", {"etc/selinux/config": config, where: contexts})
        config = (self.root / _CLOUD).read_text()
        self._replace(_CLOUD, cloud_config(config, own.removesuffix("-leap"), ("network-manager",)))
        for name, depends in self.distribution.empty.items():
            if name not in self.groups:
                self._add(name, {}, depends)

    def _add(self, name: str, files: Mapping[str, str], depends: Iterable[str] = ("filesystem",)) -> None:
        for path, text in files.items():
            self._write(path, text)
        version = re.sub(r"[^0-9.]", "", self.release) or "1"
        self.groups[name] = _Group(version, name, set(depends), list(files))

    def _replace(self, path: str, text: str) -> None:
        """Change a file in its package. The tree's is a link to the other mirrors' one."""
        (self.root / path).unlink()
        (self.root / path).write_text(text)

    def _write(self, path: str, text: str) -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(place):
            place.unlink()  # it is a link to the other mirrors' one
        for group in self.groups.values():
            if path in group.paths:
                group.paths.remove(path)
        if text.startswith("->"):
            place.symlink_to(text.removeprefix("->"))
        else:
            place.write_text(text)
            place.chmod(0o755 if text.startswith("#!") else 0o644)

    # -- the spec file ---------------------------------------------------------------------------------------------

    def spec(self, folder: Path) -> str:
        """One spec file with a subpackage for each group; lists of files go to ``folder``."""
        users, groups = _ids(self.root / "etc/passwd"), _ids(self.root / "etc/group")
        text = [_SPEC_HEAD]
        for name, group in sorted(self.groups.items()):
            listed = folder / f"{name}.files"
            listed.write_text("".join(_listed(self.root, path, users, groups) for path in sorted(set(group.paths))))
            needs = {"filesystem", *group.depends} - {name} if name != "filesystem" else set[str]()
            scriptlets = next((number for number, line in enumerate(group.lines) if line[0] == "%"), len(group.lines))
            text += [
                f"%package -n {name}",
                f"Version: {group.version}",
                f"Release: 1.{self.distribution.identity.replace('-', '_')}",
                f"Summary: {_escaped(group.description)}",
                "AutoReqProv: no",
                *(f"Requires: {each}" for each in sorted(needs & self.groups.keys())),
                *group.lines[:scriptlets],
                f"%description -n {name}",
                _escaped(group.description),
                *group.lines[scriptlets:],
                f"%files -n {name}" + (f" -f {listed}" if group.paths else ""),
            ]
        return "\n".join(text) + "\n"


def _ids(file: Path) -> dict[int, str]:
    return {int(line.split(":")[2]): line.split(":")[0] for line in file.read_text().splitlines()}


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _listed(root: Path, path: str, users: Mapping[int, str], groups: Mapping[int, str]) -> str:
    """A line of a list of files: owner, mode and kind; configuration is marked as such."""
    place = root / path
    state = place.lstat()
    is_link = place.is_symlink()
    mode = "-" if is_link else f"{state.st_mode & 0o7777:04o}"
    kind = "%dir " if place.is_dir() and not is_link else ""
    if path.startswith("etc/") and not kind and not is_link:
        kind = "%config(noreplace) "
    owner, group = users.get(state.st_uid, "root"), groups.get(state.st_gid, "root")
    return f'%attr({mode},{owner},{group}) {kind}"/{_escaped(path)}"\n'


def make(folder: Path, distribution: str, release: str, tree: DebianTree | None = None) -> Mirror:
    """Make the mirror of a distribution's release in ``folder``; takes about half a minute.

    ``tree`` has the packages :data:`PACKAGES`; it is bootstrapped where it is not given, beside ``folder``.
    """
    known = DISTRIBUTIONS[distribution]
    if release in ("8", "9"):
        known = replace(known, database="/var/lib/rpm")
    tree = tree or bootstrap(folder.parent / "debian-tree", PACKAGES)
    work = folder.with_name(f"{folder.name}.work")
    for fresh in (folder, work):
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
    subprocess.run(["cp", "-al", str(tree.root), str(work / "root")], check=True)
    pack = _Pack(known, release, tree, work / "root")
    pack.collect()
    (work / "all.spec").write_text(pack.spec(work))
    places = tuple(place.replace("@R@", release) for place in known.places)
    for place in places:
        (folder / place).mkdir(parents=True)
    mirror = Mirror(folder, folder / "RPM-GPG-KEY-synthetic", places)
    _build(work, mirror.packages)
    key = Key.make(work / "gnupg", "Synthetic Mirror")
    mirror.key.write_bytes(key.public())
    sign(mirror.packages.glob("*.rpm"), key)
    shutil.rmtree(work / "root")
    for place in places:
        index(folder / place, key)
    return mirror


def _build(work: Path, target: Path) -> None:
    defines = {
        "_topdir": str(work / "top"),
        "_rpmdir": str(target),
        "_rpmfilename": "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
        "_buildhost": "synthetic",
        "use_source_date_epoch_as_buildtime": "1",
        "clamp_mtime_to_source_date_epoch": "1",
    }
    command = ["rpmbuild", "-bb", "--noclean", "--nodeps", "--target", "x86_64", "--buildroot", str(work / "root")]
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


def index(repository: Path, key: Key) -> None:
    """Write a repository's metadata, and sign it as openSUSE does (``repomd.xml.asc``, ``repomd.xml.key``)."""
    _run(["createrepo_c", "--quiet", "--revision", str(EPOCH), "--set-timestamp-to-revision", str(repository)])
    file = repository / "repodata/repomd.xml"
    key.sign(file, file.with_name("repomd.xml.asc"))
    file.with_name("repomd.xml.key").write_bytes(key.public())
