"""A small ebuild repository for a synthetic Gentoo: ebuilds that take Debian's files, and one that has a source."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from tests.mirrors.debian import DebianTree

EPOCH = 1_760_000_000  # when everything was built, in seconds
EXTRA, FROM_SOURCE = "app-misc/extra-tool", "app-misc/source-tool"
KERNEL, INSTALLKERNEL = "sys-kernel/gentoo-kernel-bin", "sys-kernel/installkernel"
EMPTY = "sys-boot/efibootmgr"  # which a disk that boots by UEFI asks for, and Debian's GRUB needs not
LEFT_OUT = frozenset(("apt", "dpkg", "debconf", "ucf", "sqv", "libapt-pkg7.0", "linux-image-cloud-amd64"))
FROM_DEBIAN = {  # Debian's packages of each of Gentoo's; all that they need is in the stage 3
    KERNEL: (),
    "sys-kernel/dracut": ("dracut", "dracut-core", "dracut-install"),
    "sys-boot/grub": ("grub-common", "grub2-common", "grub-pc-bin", "grub-efi-amd64-bin"),
    "net-misc/openssh": ("openssh-server", "openssh-client", "openssh-sftp-server"),
    "app-admin/sudo": ("sudo",),
}
BINARY = (*FROM_DEBIAN, INSTALLKERNEL, EXTRA)
_DEPENDS = {KERNEL: INSTALLKERNEL, INSTALLKERNEL: "sys-kernel/dracut"}
_HEAD = """\
EAPI=8
DESCRIPTION="{description}"
HOMEPAGE="http://mirror.invalid"
{source}LICENSE="GPL-2"
SLOT="0"
KEYWORDS="amd64"
RDEPEND="{depends}"
RESTRICT="strip"
"""
_NO_SOURCE = 'S="${WORKDIR}"\n'
_COPY = """
src_install() {{
    dodir /
    tar -C /mnt/debian --no-recursion --xattrs -T /mnt/lists/{name} -cf - | tar -C "${{ED}}" --xattrs -xpf - || die
{more}}}
"""
_KERNEL = """\
    local folders=("${ED}"/usr/lib/modules/*)
    mv "${ED}"/boot/vmlinuz-* "${folders[0]}/vmlinuz" || die
    rm -r "${ED}"/boot || die
"""
_POSTINST = """
pkg_postinst() {
    local folder
    for folder in "${EROOT}"/usr/lib/modules/*/; do
        installkernel "$(basename "${folder}")" "${folder}vmlinuz" || die
    done
}
"""
_INSTALLKERNEL = """
src_install() {
    exeinto /usr/sbin
    newexe - installkernel <<- 'SCRIPT'
	#!/bin/bash
	set -eu
	depmod "$1"
	cp "$2" "/boot/kernel-$1"
	dracut --force --kver "$1" "/boot/initramfs-$1.img"
	SCRIPT
    keepdir /boot
}
"""
_EXTRA = """
src_install() {
    exeinto /usr/bin
    newexe - extra-tool <<< $'#!/bin/sh\\necho extra'
}
"""
_FROM_SOURCE = """
src_install() {
    dobin source-tool
}
"""
_DEFAULTS = """\
ARCH="amd64"
ACCEPT_KEYWORDS="amd64"
ACCEPT_LICENSE="*"
ABI="amd64"
DEFAULT_ABI="amd64"
MULTILIB_ABIS="amd64"
LIBDIR_amd64="lib"
CHOST="x86_64-pc-linux-gnu"
CBUILD="x86_64-pc-linux-gnu"
ELIBC="glibc"
KERNEL="linux"
USERLAND="GNU"
USE="systemd"
IUSE_IMPLICIT="build prefix systemd"
"""


def slices(tree: DebianTree) -> Mapping[str, str]:
    """Which of Gentoo's packages has a Debian package that is not in the stage 3."""
    found = {debian: name for name, parts in FROM_DEBIAN.items() for debian in parts}
    found |= {name: KERNEL for name in tree.slices if name.startswith("linux-image-6")}
    return found


def kernel_version(tree: DebianTree) -> str:
    """The kernel's version in numbers."""
    return next(name for name in tree.slices if name.startswith("linux-image-6")).split("-")[2].partition("+")[0]


def plain(name: str, *, body: str = "", source: str = _NO_SOURCE) -> str:
    """The text of an ebuild."""
    return _HEAD.format(description=f"Synthetic {name}", source=source, depends=_DEPENDS.get(name, "")) + body


def _ebuilds(tree: DebianTree) -> dict[str, tuple[str, str]]:
    """Version and text of all that can be installed."""
    from tests.mirrors import vardb

    found = {name: (number, plain(name)) for name, (number, _) in vardb.installed(tree).items()}
    for name, parts in FROM_DEBIAN.items():
        more = _KERNEL if name == KERNEL else ""
        body = _COPY.format(name=name.partition("/")[2], more=more) + (_POSTINST if name == KERNEL else "")
        number = kernel_version(tree) if name == KERNEL else vardb.version(tree.slices[parts[0]].version)
        found[name] = (number, plain(name, body=body))
    found[INSTALLKERNEL] = ("1", plain(INSTALLKERNEL, body=_INSTALLKERNEL))
    found[EMPTY] = ("1", plain(EMPTY))
    found[EXTRA] = ("1", plain(EXTRA, body=_EXTRA))
    found[FROM_SOURCE] = ("1", plain(FROM_SOURCE, body=_FROM_SOURCE, source='SRC_URI="mirror://gentoo/${P}.tar.xz"\n'))
    return found


def write_repository(folder: Path, tree: DebianTree, distfile: Path) -> None:
    """Write the repository (PMS, chapter 4) without its cache of metadata."""
    found = _ebuilds(tree)
    profile = folder / "profiles/default/linux/amd64/23.0/systemd"
    profile.mkdir(parents=True)
    (folder / "metadata").mkdir()
    (folder / "eclass").mkdir()
    files = {
        "metadata/layout.conf": "masters =\nthin-manifests = true\nsign-manifests = false\ncache-formats = md5-dict\n",
        "metadata/timestamp.x": f"{EPOCH} synthetic\n",
        "profiles/repo_name": "gentoo\n",
        "profiles/arch.list": "amd64\n",
        "profiles/categories": "".join(f"{name}\n" for name in sorted({name.partition("/")[0] for name in found})),
        "profiles/profiles.desc": "amd64 default/linux/amd64/23.0/systemd stable\n",
        "profiles/thirdpartymirrors": "gentoo http://nowhere.invalid/distfiles\n",
        "profiles/default/linux/amd64/23.0/systemd/make.defaults": _DEFAULTS,
        "profiles/default/linux/amd64/23.0/systemd/packages": "*sys-apps/baselayout\n*sys-apps/systemd\n",
        "profiles/default/linux/amd64/23.0/systemd/eapi": "8\n",
    }
    data = distfile.read_bytes()
    manifest = f"DIST {distfile.name} {len(data)} BLAKE2B {hashlib.blake2b(data).hexdigest()} "
    files[f"{FROM_SOURCE}/Manifest"] = f"{manifest}SHA512 {hashlib.sha512(data).hexdigest()}\n"
    for name, (number, text) in found.items():
        files[f"{name}/{name.partition('/')[2]}-{number}.ebuild"] = text
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def write_lists(folder: Path, tree: DebianTree) -> None:
    """Write for each ebuild that takes Debian's files a list of them."""
    folder.mkdir()
    owners = slices(tree)
    lists: dict[str, list[str]] = {}
    for name, part in tree.slices.items():
        if name in owners:
            lists.setdefault(owners[name].partition("/")[2], []).extend(
                path for path in part.paths if not path.startswith(("etc/init.d", "etc/rc"))
            )
    for name, paths in lists.items():
        (folder / name).write_text("".join(f"{path}\n" for path in sorted(paths)))


def write_distfile(folder: Path) -> Path:
    """The source of :data:`FROM_SOURCE`, as mirrors keep it."""
    folder.mkdir(parents=True)
    (folder / "layout.conf").write_text("[structure]\n0=flat\n")
    file = folder / "source-tool-1.tar.xz"
    text = b"#!/bin/sh\necho source\n"
    with tarfile.open(file, "w:xz") as archive:
        member = tarfile.TarInfo("source-tool-1/source-tool")
        member.size, member.mode, member.mtime = len(text), 0o755, EPOCH
        archive.addfile(member, io.BytesIO(text))
    return file
