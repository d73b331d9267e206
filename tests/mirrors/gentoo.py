"""A synthetic mirror of Gentoo: a stage 3 of Debian's programs with a real portage, ebuilds, and binary packages.

portage is PyPI's, as it is; all that it is asked to install it has made itself from ebuilds, in the stage 3's own tree.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.mirrors import ebuilds, vardb
from tests.mirrors.debian import DebianTree
from tests.mirrors.keys import Key

EPOCH = 1_760_000_000  # when everything was built, in seconds
STAMP = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(EPOCH))
PROFILE = "default/linux/amd64/23.0/systemd"
FLAVOUR = "amd64-systemd"
PACKAGES = (  # of Debian, with all that they need
    *("systemd-sysv", "udev", "libpam-systemd", "dbus", "kmod", "login", "passwd", "iproute2", "procps", "e2fsprogs"),
    *("linux-image-cloud-amd64", "dracut", "grub2-common", "grub-pc-bin", "grub-efi-amd64-bin", "openssh-server"),
    *("ca-certificates", "curl", "cpio", "hostname", "less", "tzdata", "xz-utils", "zstd", "bzip2", "wget"),
    *("sudo", "gpg", "gpgconf", "gpg-agent", "python3"),
)
AUTOBUILDS = "releases/amd64/autobuilds"
BINHOST = "releases/amd64/binpackages/23.0/x86-64"
LIST = f"{AUTOBUILDS}/latest-stage3-{FLAVOUR}.txt"
TARBALL = f"{AUTOBUILDS}/{STAMP}/stage3-{FLAVOUR}-{STAMP}.tar.xz"
SNAPSHOT = "snapshots/gentoo-latest.tar.xz"
_MAKE_CONF = """\
COMMON_FLAGS="-O2 -pipe"
CFLAGS="${COMMON_FLAGS}"
CXXFLAGS="${COMMON_FLAGS}"
LC_MESSAGES=C.utf8
# There is no compiler, and there are no tools that look into programs.
FEATURES="${FEATURES} -multilib-strict -qa-unresolved-soname-deps nostrip"
"""
_BINHOST = "[gentoobinhost]\npriority = 1\nsync-uri = http://nowhere.invalid/binpackages\n"


@dataclass(frozen=True)
class Mirror:
    """A mirror in ``folder``, the release's public ``keys`` (armored), and the secret one that signs."""

    folder: Path
    keys: Path
    key: Key

    def sign_list(self, key: Key) -> None:
        """Write the list of the newest stage 3, signed by a key."""
        size = (self.folder / TARBALL).stat().st_size
        date = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(EPOCH))
        place = f"{STAMP}/{Path(TARBALL).name}"
        text = f"# Latest as of {date}\n# ts={EPOCH}\n{place} {size}\n"
        (self.folder / LIST).write_bytes(key.clear_sign(text.encode()))

    def package(self, name: str) -> Path:
        """The file of a binary package."""
        (found,) = (self.folder / BINHOST / name).glob("*.gpkg.tar")
        return found

    def sign_package(self, file: Path, key: Key) -> None:
        """Sign a binary package anew (GLEP 78), and write its checksums into the index."""
        with tarfile.open(file) as archive:
            members = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
        folder = next(iter(members)).partition("/")[0]
        for name in members:
            if f"{name}.sig" in members:
                members[f"{name}.sig"] = key.run("--armor", "--detach-sign", "--output", "-", data=members[name])
        sums = [
            f"DATA {name.partition('/')[2]} {len(data)} "
            f"BLAKE2B {hashlib.blake2b(data).hexdigest()} SHA512 {hashlib.sha512(data).hexdigest()}\n"
            for name, data in members.items()
            if not name.endswith("/Manifest")
        ]
        members[f"{folder}/Manifest"] = key.clear_sign("".join(sums).encode())
        before = file.read_bytes()
        with tarfile.open(file, "w", format=tarfile.USTAR_FORMAT) as archive:
            for name, data in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        after, index = file.read_bytes(), self.folder / BINHOST / "Packages"
        text = index.read_text()
        for name in ("md5", "sha1"):
            text = text.replace(hashlib.new(name, before).hexdigest(), hashlib.new(name, after).hexdigest())
        index.write_text(text.replace(f"SIZE: {len(before)}", f"SIZE: {len(after)}"))
        index.with_name("Packages.gz").unlink(missing_ok=True)


def make(folder: Path, tree: DebianTree) -> Mirror:
    """Make the mirror in ``folder`` from a tree with :data:`PACKAGES`."""
    shutil.rmtree(folder, ignore_errors=True)
    key = Key.make(folder.with_name(f"{folder.name}.gnupg"), "Synthetic Gentoo Releng")
    place = folder.with_name(f"{folder.name}.work")
    shutil.rmtree(place, ignore_errors=True)
    repository, stage = place / "gentoo", place / "stage3"
    source = ebuilds.write_distfile(folder / "distfiles")
    ebuilds.write_repository(repository, tree, source)
    _write_stage(stage, tree)
    lists = place / "lists"
    ebuilds.write_lists(lists, tree)
    _make_packages(stage, tree, place, folder / BINHOST, key)
    _pack_stage(stage, folder, key)
    _pack(repository.parent, ["gentoo"], folder / SNAPSHOT)
    key.sign(folder / SNAPSHOT, folder / f"{SNAPSHOT}.gpgsig")
    public = folder / "synthetic.asc"
    public.write_bytes(key.public())
    shutil.rmtree(place)
    mirror = Mirror(folder, public, key)
    mirror.sign_list(key)
    return mirror


def fingerprint(key: Key) -> str:
    """The fingerprint of a key, which portage takes for its name."""
    lines = key.run("--with-colons", "--list-keys", key.name).decode().splitlines()
    return next(line.split(":")[9] for line in lines if line.startswith("fpr:"))


def _pack(place: Path, names: Iterable[str], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    options = ("--sort=name", "--numeric-owner", "--xattrs", "--xattrs-include=*.*", "--use-compress-program=xz -0 -T0")
    clock = (f"--mtime=@{EPOCH}", "--clamp-mtime")
    subprocess.run(["tar", "-C", str(place), *options, *clock, "-cf", str(target), *names], check=True)


def _pack_stage(stage: Path, folder: Path, key: Key) -> None:
    target = folder / TARBALL
    _pack(stage, ["."], target)
    key.sign(target, target.with_name(f"{target.name}.asc"))
    data = target.read_bytes()
    digests = {"BLAKE2B": hashlib.blake2b(data).hexdigest(), "SHA512": hashlib.sha512(data).hexdigest()}
    text = "".join(f"# {name} HASH\n{sum_}  {target.name}\n" for name, sum_ in digests.items())
    target.with_name(f"{target.name}.DIGESTS").write_bytes(key.clear_sign(text.encode()))


def _write_stage(stage: Path, tree: DebianTree) -> None:
    """A tree with portage, without what the ebuilds bring."""
    stage.mkdir(parents=True)
    paths = vardb.write(stage, tree)
    copy = subprocess.Popen(
        ["tar", "-C", str(tree.root), "--no-recursion", "--xattrs", "--verbatim-files-from", "-T", "-", "-cf", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    unpack = subprocess.Popen(["tar", "-C", str(stage), "--xattrs", "-xpf", "-"], stdin=copy.stdout)
    assert copy.stdin is not None
    copy.stdin.write("".join(f"{path}\n" for path in paths).encode())
    copy.stdin.close()
    assert copy.wait() == 0
    assert unpack.wait() == 0
    for name in (
        "dev",
        "proc",
        "sys",
        "run",
        "tmp",
        "var/tmp",
        "mnt",
        "var/cache/distfiles",
        "var/cache/binpkgs",
        "root",
    ):
        (stage / name).mkdir(parents=True, exist_ok=True)
    for name in ("tmp", "var/tmp"):
        (stage / name).chmod(0o1777)
    for file, line in (
        ("passwd", "portage:x:250:250:portage:/var/lib/portage/home:/bin/false"),
        ("group", "portage::250:portage"),
    ):
        with (stage / "etc" / file).open("a") as text:
            text.write(f"{line}\n")
    for link, command in (("python", "python3"), ("gtar", "tar")):
        (stage / "usr/bin" / link).symlink_to(command)
    vardb.install_portage(stage)
    title = 'NAME=Gentoo\nID=gentoo\nPRETTY_NAME="Gentoo Linux (synthetic mirror)"\nVERSION_ID="2.18"\n'
    (stage / "usr/lib/os-release").write_text(title)
    (stage / "etc/issue").write_text("Gentoo Linux (synthetic mirror) \\r (\\l)\n")
    (stage / "etc/gentoo-release").write_text("Gentoo Base System release 2.18\n")
    settings = stage / "etc/portage"
    (settings / "binrepos.conf").mkdir(parents=True)
    (settings / "make.conf").write_text(_MAKE_CONF)
    (settings / "binrepos.conf/gentoobinhost.conf").write_text(_BINHOST)
    (settings / "make.profile").symlink_to(f"../../var/db/repos/gentoo/profiles/{PROFILE}")


_IN_STAGE = """\
set -eu
work=$1 stage=$1/stage3 tree=$2
for name in dev proc; do mount --rbind /$name $stage/$name; done
mount -t tmpfs shm $stage/dev/shm
mkdir -p $stage/var/db/repos/gentoo $stage/mnt/debian $stage/mnt/lists $stage/mnt/packages $stage/mnt/keys
mount --bind $work/gentoo $stage/var/db/repos/gentoo
mount --bind $tree $stage/mnt/debian
mount --bind $work/lists $stage/mnt/lists
mount --bind $3 $stage/mnt/packages
mount --bind $4 $stage/mnt/keys
mount -t tmpfs work $stage/var/tmp
mount -t tmpfs run $stage/run
mkdir -p $stage/run/lock
shift 4
exec chroot $stage "$@"
"""


def _make_packages(stage: Path, tree: DebianTree, place: Path, target: Path, key: Key) -> None:
    """Have portage make the binary packages and their index, each signed."""
    target.mkdir(parents=True)
    environment = {
        "PATH": "/usr/bin:/usr/sbin:/bin:/sbin",
        "HOME": "/root",
        "TERM": "dumb",
        "NOCOLOR": "true",
        "PKGDIR": "/mnt/packages",
        "SOURCE_DATE_EPOCH": str(EPOCH),
        "FEATURES": "binpkg-signing -sandbox -usersandbox -userpriv -ipc-sandbox -network-sandbox -pid-sandbox -news",
        "BINPKG_GPG_SIGNING_GPG_HOME": "/mnt/keys",
        "BINPKG_GPG_SIGNING_KEY": fingerprint(key),
        "BINPKG_GPG_VERIFY_GPG_HOME": "/mnt/keys",
        "GPG_VERIFY_USER_DROP": "root",
        "GPG_VERIFY_GROUP_DROP": "root",
        "PORTAGE_TRUST_HELPER": "true",
    }
    steps = (
        ("egencache", "--update", "--repo", "gentoo", "--jobs=2"),
        ("emerge", "--buildpkgonly", "--nodeps", "--oneshot", "--color=n", "--quiet-build=n", *ebuilds.BINARY),
    )
    for step in steps:
        argv = ["unshare", "--mount", "--fork", "bash", "-c", _IN_STAGE, "in-stage"]
        argv += [str(place), str(tree.root), str(target), str(key.home), *step]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            message = f"{' '.join(step)} failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
            raise RuntimeError(message)
    for name in ("mnt/debian", "mnt/lists", "mnt/packages", "mnt/keys"):
        (stage / name).rmdir()
    for name in ("var/cache/edb", "var/log"):
        shutil.rmtree(stage / name, ignore_errors=True)
