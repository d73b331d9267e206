"""A synthetic mirror of Fedora or CentOS Stream: a Debian tree's files as signed RPM packages of those names."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.mirrors.debian import DebianTree
from tests.mirrors.redhatnames import EMPTY, LEFT_OUT, MORE_NEEDS, NAMES

DATE = 1760000000  # of all packages and of the repositories, in seconds since 1970
EXTRA = "synthetic-extra"  # a small package that nothing needs
LAYOUT = {
    "fedora": ("releases/{0}/Everything/x86_64/os", "updates/{0}/Everything/x86_64"),
    "centos": ("{0}-stream/BaseOS/x86_64/os", "{0}-stream/AppStream/x86_64/os"),
}
RELEASE_PACKAGES = {
    "fedora": ("fedora-release", "fedora-repos"),
    "centos": ("centos-stream-release", "centos-stream-repos"),
}
_DROPPED = re.compile(
    r"(var/(lib/(dpkg|apt)|cache/apt)|usr/share/(doc|man))(/|$)|etc/(os-release|debian_version)$|usr/lib/os-release$"
)
# No file is changed or looked into: they are a distribution's already.
_HEAD = """\
%global __os_install_post %{nil}
%global __spec_install_pre %{nil}
%global debug_package %{nil}
%global _build_id_links none
%global _binary_payload w1.gzdio
%global _unpackaged_files_terminate_build 0
Name: synthetic
Version: 1
Release: 1
Summary: Synthetic
License: Various
AutoReqProv: no
%description
Synthetic.
"""


@dataclass(frozen=True)
class Mirror:
    """A synthetic mirror in ``folder``, laid out as the distribution's own; ``key`` signs its packages."""

    folder: Path
    distribution: str
    release: str
    key: Path


@dataclass
class _Package:
    """An RPM package to be: paths are relative to the tree, ``lines`` are more of its spec file's preamble."""

    name: str
    version: str = "1"
    summary: str = ""
    needs: set[str] = field(default_factory=set)
    paths: set[str] = field(default_factory=set)
    lines: list[str] = field(default_factory=list)
    scriptlets: list[str] = field(default_factory=list)


class _Work:
    """The files that packages are made of, hard links to the Debian tree's where they are as they were there."""

    def __init__(self, folder: Path, tree: DebianTree) -> None:
        self.folder, self.root = folder, folder / "root"
        folder.mkdir(parents=True)
        subprocess.run(["cp", "-al", tree.root, self.root], check=True)
        self.packages: dict[str, _Package] = {}
        for part in tree.slices.values():
            if part.name in LEFT_OUT:
                continue
            package = self.package(_name(part.name))
            if package.name in (part.name, NAMES.get(part.name)) or not package.summary:
                package.summary = part.description
            package.version = re.sub(r"[^A-Za-z0-9.]", "_", part.version.partition(":")[2] or part.version)
            package.needs |= {_name(name) for name in part.depends if name not in LEFT_OUT}
            package.paths |= {path for path in part.paths if not _DROPPED.match(path)}

    def package(self, name: str) -> _Package:
        """The package of a name, made where it is not there."""
        return self.packages.setdefault(name, _Package(name, summary=name))

    def move(self, package: str, old: str, new: str) -> None:
        """Give a file of a package another path."""
        (self.root / old).rename(self.root / new)
        self.packages[package].paths.discard(old)
        self.packages[package].paths.add(new)

    def write(self, package: str, path: str, text: str, mode: int = 0o644) -> None:
        """A file of a package's own; ``-> TARGET`` is a symbolic link."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        if text.startswith("-> "):
            place.symlink_to(text.removeprefix("-> "))
        else:
            place.write_text(text, encoding="utf-8")
            place.chmod(mode)
        self.package(package).paths.add(path)


def _name(debian: str) -> str:
    return "kernel-core" if re.match(r"linux-image-\d", debian) else NAMES.get(debian, debian)


def make(folder: Path, distribution: str, release: str, tree: DebianTree) -> Mirror:
    """Make a mirror of one release at ``folder`` (which must not be there) from a tree with all of ``WANTED``.

    Raises CalledProcessError where rpmbuild, rpmsign, gpg or createrepo_c fail.
    """
    work = _Work(folder.with_name(f"{folder.name}.work"), tree)
    _rearrange(work)
    _add_release(work, distribution, release)
    for name, needs in MORE_NEEDS.items():
        work.package(name).needs |= {*needs}
    for name in EMPTY:
        work.package(name)
    first, *others = (folder / path.format(release) for path in LAYOUT[distribution])
    _build(work, first / "Packages")
    shutil.rmtree(work.folder)
    key = folder.with_name(f"{folder.name}.key")
    _sign(first / "Packages", key)
    for place in (first, *others):
        place.mkdir(parents=True, exist_ok=True)
        index = ["createrepo_c", "--quiet", "--revision", str(DATE), "--set-timestamp-to-revision", str(place)]
        subprocess.run(index, check=True)
    return Mirror(folder, distribution, release, key)


def _rearrange(work: _Work) -> None:
    """Put files where the distribution's packages have them: kernels, GRUB's commands, sh, rpm's database."""
    kernel = work.package("kernel-core")
    version = next(path.partition("vmlinuz-")[2] for path in kernel.paths if path.startswith("boot/vmlinuz-"))
    for path in sorted(kernel.paths):
        if path.startswith("boot/"):
            work.move("kernel-core", path, f"usr/lib/modules/{version}/{path.removeprefix('boot/').partition('-')[0]}")
    kernel.needs.clear()
    kernel.lines.append("Provides: installonlypkg(kernel)")
    kernel.scriptlets += [
        "%posttrans -n kernel-core",
        f"/bin/kernel-install add {version} /usr/lib/modules/{version}/vmlinuz || exit $?",
    ]
    for path in sorted(work.package("grub2-tools").paths):
        if "bin/grub-" in path:
            work.move("grub2-tools", path, path.replace("bin/grub-", "bin/grub2-"))
    work.package("dash").paths.discard("usr/bin/sh")
    work.write("bash", "usr/bin/sh", "-> bash")
    work.package("bash").lines.append("Provides: /bin/sh")
    work.package("glibc").scriptlets.append("%post -n glibc -p /usr/sbin/ldconfig")
    work.write("selinux-policy-targeted", "etc/selinux/config", "SELINUX=enforcing\nSELINUXTYPE=targeted\n")
    work.write(EXTRA, f"usr/bin/{EXTRA}", "#!/bin/sh\necho synthetic\n", 0o755)


def _add_release(work: _Work, distribution: str, release: str) -> None:
    """What says which distribution this is, its package sources, and where its rpm has the database."""
    named, repositories = RELEASE_PACKAGES[distribution]
    title = f"{distribution} {release} (synthetic)"
    text = f'NAME="{distribution}"\nID={distribution}\nVERSION_ID={release}\nPRETTY_NAME="{title}"\n'
    work.write(named, "usr/lib/os-release", text)
    work.write(named, "etc/os-release", "-> ../usr/lib/os-release")
    sources = f"[{distribution}]\nname={title}\nbaseurl=http://mirror.invalid/\nenabled=1\ngpgcheck=1\n"
    work.write(repositories, f"etc/yum.repos.d/{distribution}.repo", sources)
    database = "/var/lib/rpm" if (distribution, release) == ("centos", "9") else "/usr/lib/sysimage/rpm"
    work.write("rpm", "usr/lib/rpm/macros.d/macros.synthetic", f"%_dbpath {database}\n%_db_backend sqlite\n")


def _build(work: _Work, packages: Path) -> None:
    spec = work.folder / "synthetic.spec"
    users, groups = _names(work.root / "etc/passwd"), _names(work.root / "etc/group")
    parts = [_HEAD]
    for _, package in sorted(work.packages.items()):
        parts += [*_preamble(package), *package.scriptlets, f"%files -n {package.name}"]
        parts += [_file(work.root, path, users, groups) for path in sorted(package.paths)]
    spec.write_text("\n".join(parts) + "\n", encoding="utf-8")
    settings = {
        "_topdir": work.folder / "top",
        "_rpmdir": packages,
        "_rpmfilename": "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
        "use_source_date_epoch_as_buildtime": 1,
        "_buildhost": "synthetic",
    }
    defines = [word for name, value in settings.items() for word in ("--define", f"{name} {value}")]
    argv = ["rpmbuild", "-bb", "--noclean", "--quiet", "--target", "x86_64", "--buildroot", str(work.root)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(DATE)}
    subprocess.run([*argv, *defines, str(spec)], env=environment, check=True, capture_output=True)


def _preamble(package: _Package) -> list[str]:
    needs = sorted(package.needs - {package.name} | ({"filesystem"} if package.name != "filesystem" else set()))
    return [
        f"%package -n {package.name}",
        f"Version: {package.version}",
        "Release: 1.synthetic",
        f"Summary: {package.summary.replace('%', '%%')}",
        "AutoReqProv: no",
        *(f"Requires: {name}" for name in needs),
        *package.lines,
        f"%description -n {package.name}",
        "Made of files of Debian's packages.",
    ]


def _names(table: Path) -> dict[int, str]:
    lines = (line.split(":") for line in table.read_text(encoding="utf-8").splitlines())
    return {int(number): name for name, _, number, *_ in lines}


def _file(root: Path, path: str, users: Mapping[int, str], groups: Mapping[int, str]) -> str:
    place = root / path
    state = place.lstat()
    link, folder = place.is_symlink(), place.is_dir() and not place.is_symlink()
    mode = "-" if link else f"{state.st_mode & 0o7777:04o}"
    kind = "%dir " if folder else "%config(noreplace) " if path.startswith("etc/") and not link else ""
    owner = f"{users.get(state.st_uid, 'root')},{groups.get(state.st_gid, 'root')}"
    return f'%attr({mode},{owner}) {kind}"/{path.replace("%", "%%")}"'


def _sign(packages: Path, key: Path) -> None:
    """Sign all packages with a new key, whose public part gets to ``key``."""
    home = key.with_suffix(".gnupg")
    home.mkdir(mode=0o700)
    environment = {**os.environ, "GNUPGHOME": str(home)}

    def call(*argv: str) -> bytes:
        return subprocess.run(argv, env=environment, check=True, capture_output=True).stdout

    user = "Synthetic mirror <mirror@mirror.invalid>"
    call("gpg", "--batch", "--passphrase", "", "--quick-generate-key", user, "rsa2048", "sign", "never")
    key.write_bytes(call("gpg", "--armor", "--export"))
    gpg = shutil.which("gpg") or "gpg"
    defines = ["--define", f"_gpg_name {user}", "--define", f"_gpg_path {home}", "--define", f"__gpg {gpg}"]
    call("rpmsign", *defines, "--addsign", *map(str, sorted(packages.glob("*.rpm"))))
    subprocess.run(["gpgconf", "--kill", "all"], env=environment, check=False)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:  # the tests' output is not a server's log
        pass


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder over HTTP on loopback; yields the address."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
