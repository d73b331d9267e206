"""A synthetic mirror of Arch Linux: Debian's programs as signed pacman packages under Arch's names, in its layout.

The kernel's ram disk is made by dracut, which a pacman hook runs: Debian has no mkinitcpio.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.mirrors.debian import SSH_ENABLED, SSH_UNIT, DebianTree, cloud_config, cloud_units
from tests.mirrors.keys import Key

EPOCH = 1_760_000_000  # when all packages were built, in seconds
PACKAGES = (  # of Debian, with all that they need
    *("systemd-sysv", "udev", "libpam-systemd", "dbus", "kmod", "login", "passwd", "iproute2", "procps", "e2fsprogs"),
    *("linux-image-cloud-amd64", "dracut", "grub2-common", "grub-pc-bin", "grub-efi-amd64-bin", "openssh-server"),
    *("sudo", "ca-certificates", "curl", "cpio", "hostname", "less", "tzdata", "xz-utils", "zstd", "gpg", "gpgconf"),
    *("pacman-package-manager", "libarchive-tools", "bash", "cloud-init", "cloud-guest-utils", "python3"),
)
LINK = "->"  # begins the text of a file that is a link
LETTERS, MORE_LETTERS = "usr/share/größe", "usr/share/länge"  # files of the bootstrap's packages, and of EXTRA
EXTRA = "extra-tool"  # a package of no use, for tests that install one
HOOKED = "var/lib/extra-hook"  # what the hook of EXTRA makes
OF_DEBIAN = ("etc/init.d", "etc/rc", "etc/localtime", "usr/bin/sh")  # paths that Arch's packages have not
LEFT_OUT = frozenset(("apt", "dpkg", "debconf", "ucf", "sqv", "libapt-pkg7.0", "linux-image-cloud-amd64"))
NAMES = {
    "libc6": "glibc",
    "libc-bin": "glibc",
    "base-files": "filesystem",
    "base-passwd": "filesystem",
    "bsdutils": "util-linux",
    "fdisk": "util-linux",
    "mount": "util-linux",
    "login": "util-linux",
    "login.defs": "shadow",
    "passwd": "shadow",
    "procps": "procps-ng",
    "udev": "systemd",
    "libpam-systemd": "systemd",
    "libsystemd-shared": "systemd",
    "systemd-sysv": "systemd-sysvcompat",
    "dbus-bin": "dbus",
    "dbus-daemon": "dbus",
    "dbus-system-bus-common": "dbus",
    "dbus-session-bus-common": "dbus",
    "dracut-core": "dracut",
    "dracut-install": "dracut",
    "grub-common": "grub",
    "grub2-common": "grub",
    "grub-pc-bin": "grub",
    "grub-efi-amd64-bin": "grub",
    "openssh-server": "openssh",
    "openssh-client": "openssh",
    "openssh-sftp-server": "openssh",
    "xz-utils": "xz",
    "mawk": "gawk",
    "gpg": "gnupg",
    "gpgconf": "gnupg",
    "pacman-package-manager": "pacman",
}
BASE = (
    *(
        "bash",
        "coreutils",
        "filesystem",
        "findutils",
        "gawk",
        "glibc",
        "grep",
        "gzip",
        "pacman",
        "sed",
        "shadow",
        "tar",
    ),
    "util-linux",
)
_HOOK = """\
[Trigger]
Type = Path
Operation = Install
Operation = Upgrade
Target = usr/lib/modules/*/vmlinuz

[Action]
Description = Putting the kernel and its ram disk into /boot...
When = PostTransaction
Exec = /usr/share/libalpm/scripts/kernel-install
"""
_HOOK_SCRIPT = """\
#!/bin/bash
set -eu
for kernel in /usr/lib/modules/*/vmlinuz; do
    version="$(basename "$(dirname "$kernel")")"
    cp "$kernel" /boot/vmlinuz-linux
    depmod "$version"
    dracut --force --no-hostonly --reproducible /boot/initramfs-linux.img "$version"
done
"""
_EXTRA_HOOK = f"""\
[Trigger]
Type = Package
Operation = Install
Target = {EXTRA}

[Action]
Description = Noting the installation...
When = PostTransaction
Exec = /usr/bin/touch /{HOOKED}
"""


@dataclass(frozen=True)
class Mirror:
    """A mirror in ``folder``, and the packagers' public keys (``keyring``, not armored)."""

    folder: Path
    keyring: Path
    key: Key

    def package(self, name: str) -> Path:
        """The file of a package."""
        (found,) = self.folder.glob(f"*/os/x86_64/{name}-[0-9]*.pkg.tar.zst")
        return found


@dataclass
class Package:
    """What a package is made of: ``paths`` of the tree, and ``files`` by their text."""

    version: str
    description: str
    depends: set[str] = field(default_factory=set)
    paths: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)  # what is not in the tree


def make(folder: Path, tree: DebianTree) -> Mirror:
    """Make the mirror in ``folder`` from a tree with :data:`PACKAGES`."""
    shutil.rmtree(folder, ignore_errors=True)
    packages = _packages(tree)
    core, extra = (folder / name / "os/x86_64" for name in ("core", "extra"))
    key = Key.make(folder.with_name(f"{folder.name}.gnupg"), "Synthetic Packager")
    for repository, names in ((core, packages.keys() - {EXTRA}), (extra, {EXTRA})):
        repository.mkdir(parents=True)
        for name in sorted(names):
            write(repository, tree.root, name, packages[name], key)
        index(repository)
    keyring = folder / "synthetic.gpg"
    keyring.write_bytes(key.public(armor=False))
    return Mirror(folder, keyring, key)


def _packages(tree: DebianTree) -> dict[str, Package]:
    def name_of(debian: str) -> str:
        return "linux" if debian.startswith("linux-image-") else NAMES.get(debian, debian)

    found: dict[str, Package] = {}
    for name, part in tree.slices.items():
        if name in LEFT_OUT:
            continue
        version = re.sub(r"[^A-Za-z0-9.+_]", "_", part.version.rpartition(":")[2])
        package = found.setdefault(name_of(name), Package(version, part.description))
        package.depends |= {name_of(other) for other in part.depends if other not in LEFT_OUT}
        package.paths += [path for path in part.paths if not path.startswith(OF_DEBIAN) and not SSH_ENABLED.match(path)]
    if kernel := found.get("linux"):
        kernel.depends = {"dracut", "filesystem"}
        kernel.files = {
            "usr/share/libalpm/hooks/90-kernel.hook": _HOOK,
            "usr/share/libalpm/scripts/kernel-install": _HOOK_SCRIPT,
        }
    if dracut := found.get("dracut"):
        dracut.depends |= {"grep", "sed", "cpio", "gzip", "zstd", "findutils", "util-linux", "kmod", "systemd"}
    found["glibc"].depends.discard("filesystem")
    found["bash"].files = {"usr/bin/sh": f"{LINK}bash"}
    title = 'NAME="Arch Linux"\nID=arch\nPRETTY_NAME="Arch Linux (synthetic mirror)"\nBUILD_ID=rolling\n'
    found["filesystem"].files = {"usr/lib/os-release": title, "etc/pacman.d/mirrorlist": "# No mirror is chosen.\n"}
    found["filesystem"].files[LETTERS] = "Not all file names are plain.\n"
    found["filesystem"].files["etc/issue"] = "Arch Linux (synthetic mirror) \\r (\\l)\n"
    if cloud_init := found.get("cloud-init"):
        cloud = "etc/cloud/cloud.cfg"
        cloud_init.files = {cloud: cloud_config((tree.root / cloud).read_text(), "arch", ("networkd",))}
        cloud_init.files |= cloud_units(tree.root)
        cloud_init.depends.add("hostname")
    for name, depends in {"base": BASE, "mkinitcpio": ("dracut",), "efibootmgr": ()}.items():
        found.setdefault(name, Package("1", name, set(depends)))
    found[EXTRA] = Package("1", EXTRA, {"bash"}, files={f"usr/bin/{EXTRA}": "#!/bin/sh\necho extra\n"})
    found[EXTRA].files |= {MORE_LETTERS: "", "usr/share/libalpm/hooks/extra.hook": _EXTRA_HOOK}
    for package in found.values():
        package.depends &= found.keys()
    return found


def write(repository: Path, root: Path, name: str, package: Package, key: Key, *, mtree: bool = True) -> None:
    """Write a package (PKGBUILD(5), BUILDINFO left out) and its signature into a repository's folder.

    Without ``mtree`` the tree's pacman cannot say what has become of its files.
    """
    target = repository / f"{name}-{package.version}-1-x86_64.pkg.tar.zst"
    told = {
        "pkgname": name,
        "pkgbase": name,
        "pkgver": f"{package.version}-1",
        "pkgdesc": package.description,
        "url": "http://mirror.invalid",
        "builddate": str(EPOCH),
        "packager": "Synthetic Packager <synthetic@mirror.invalid>",
        "size": str(sum((root / path).lstat().st_size for path in package.paths)),
        "arch": "x86_64",
    }
    lines = [f"{field} = {text}\n" for field, text in told.items()]
    lines += [f"depend = {other}\n" for other in sorted(package.depends - {name})]
    members = [_text(path, text) for path, text in package.files.items()]
    members += [_of_tree(root, path) for path in sorted({*package.paths} - package.files.keys()) if _is_packed(path)]
    members.sort(key=lambda pair: pair[0].name)
    about = [_text(".PKGINFO", "".join(lines)), *([_mtree(members)] if mtree else [])]
    packer = subprocess.Popen(["zstd", "-1", "-q", "-f", "-o", str(target)], stdin=subprocess.PIPE)
    assert packer.stdin is not None
    with tarfile.open(fileobj=packer.stdin, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for member, content in [*about, *members]:
            archive.addfile(member, io.BytesIO(content))
    packer.stdin.close()
    assert packer.wait() == 0
    key.sign(target, target.with_name(f"{target.name}.sig"), armor=False)


Member = tuple[tarfile.TarInfo, bytes]


def _text(name: str, text: str) -> Member:
    member = tarfile.TarInfo(name)
    member.mtime = EPOCH
    if text.startswith(LINK):
        member.type, member.linkname, member.mode = tarfile.SYMTYPE, text.removeprefix(LINK), 0o777
        return member, b""
    member.size = len(text.encode())
    member.mode = 0o755 if text.startswith("#!") else 0o644
    return member, text.encode()


def _is_packed(path: str) -> bool:
    return path.startswith("boot/vmlinuz-") or not path.startswith("boot/")


def _of_tree(root: Path, path: str) -> Member:
    place = root / path
    if path.startswith("boot/vmlinuz-"):  # Arch's kernel lies with its modules; a hook puts it into /boot
        path = f"usr/lib/modules/{Path(path).name.partition('-')[2]}/vmlinuz"
    elif path == SSH_UNIT:
        path = path.replace("/ssh.", "/sshd.")
    status = place.lstat()
    member = tarfile.TarInfo(path)
    member.mode, member.uid, member.gid = status.st_mode & 0o7777, status.st_uid, status.st_gid
    member.mtime = min(int(status.st_mtime), EPOCH)
    if place.is_symlink():
        member.type, member.linkname = tarfile.SYMTYPE, str(place.readlink())
    elif place.is_dir():
        member.type = tarfile.DIRTYPE
        member.mode = 0o555 if path in ("proc", "sys") else member.mode  # as Arch's package `filesystem` has them
    else:
        member.size = status.st_size
        return member, place.read_bytes()
    return member, b""


def _mtree(members: Iterable[Member]) -> Member:
    """The list of a package's files by which ``pacman -Qkk`` looks at them (mtree(5), as makepkg has it)."""
    lines = ["#mtree"]
    for member, content in members:
        name = "".join(
            chr(byte) if 33 <= byte < 127 and byte != 92 else f"\\{byte:03o}" for byte in member.name.encode()
        )
        fields = f"time={member.mtime}.0 mode={member.mode:o} uid={member.uid} gid={member.gid}"
        if member.isdir():
            fields += " type=dir"
        elif member.issym():
            fields += f" type=link link={member.linkname}"
        else:
            fields += f" type=file size={member.size} sha256digest={hashlib.sha256(content).hexdigest()}"
        lines.append(f"./{name} {fields}")
    data = gzip.compress("\n".join([*lines, ""]).encode(), mtime=0)
    member, _ = _text(".MTREE", "")
    member.size = len(data)
    return member, data


def index(repository: Path) -> None:
    """Write a repository's database, signed by nobody, as Arch has it."""
    name = repository.parents[1].name
    packages: Iterable[Path] = sorted(repository.glob("*.pkg.tar.zst"))
    command = ["repo-add", "--quiet", "--nocolor", str(repository / f"{name}.db.tar.gz"), *map(str, packages)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        message = f"repo-add failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        raise RuntimeError(message)
