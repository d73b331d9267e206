"""Builds from a synthetic RPM mirror that is served on loopback."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from stages.tree import package_database
from tests.integration.command import Command, Outcome
from tests.mirrors import rpm
from tests.mirrors.debian import DebianTree
from tests.mirrors.rpmproperties import Properties
from tests.mirrors.serve import serve

EXTRA = "extra-tool"  # a package of the mirrors that nothing needs
# Of what packages brought: what is the running machine's, bytecode that the tree's Python wrote anew, and a folder
# whose group is not there yet when these mirrors' `filesystem` is unpacked.
MAY_CHANGE = re.compile(r"/(dev|proc|sys|run|var/log|var/cache|var/mail)\b|/usr/lib/python3.*/__pycache__/")
BOOT_TIME = 600  # seconds; without KVM, beside other tests


@dataclass(frozen=True)
class Synthetic:
    """Builds from a synthetic mirror at ``address``, with a store of their own."""

    command: Command
    mirror: rpm.Mirror
    address: str
    release: str

    def build(
        self, *arguments: str, key: Path | None = None, more_keys: str = "", status: int = 0, engine: str = ""
    ) -> Outcome:
        """Run ``dib-ctr build`` with the settings for the mirror; ``key`` takes the place of the mirror's own.

        ``more_keys`` are files of the build image, blank-separated, before it. Fails where it ends with another status.
        """
        command = replace(self.command, engine=engine) if engine else self.command
        following = f" {self.mirror.following}" if self.mirror.following.exists() else ""
        settings = {
            "DIB_RELEASE": self.release,
            "DIB_DISTRIBUTION_MIRROR": f"{self.address}/{self.mirror.base}",
            "DIB_RPM_KEYS": f"{more_keys} {key or self.mirror.key}{following}".strip(),
        }
        options = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        outcome = command("build", *options, *arguments)
        assert outcome.status == status, f"{outcome.stdout}\n{outcome.stderr}"
        return outcome


def require_root() -> None:
    """Skip what needs a Debian tree with its owners, which synthetic mirrors are made of."""
    if os.geteuid() != 0:
        pytest.skip("only root can bootstrap the tree that the synthetic mirror is made of")


def mirrors_folder(open_folder: Path, name: str) -> Iterator[Path]:
    """A folder for mirrors and stores, gone at the end."""
    require_root()
    made = open_folder / name
    made.mkdir()
    yield made
    shutil.rmtree(made, ignore_errors=True)


def synthetic(
    folder: Path, debian: DebianTree, distribution: str, release: str, properties: Properties | None = None
) -> Iterator[Synthetic]:
    """The synthetic mirror of a distribution's release, served; by default it has all properties of the real one."""
    mirror = rpm.make(folder / distribution, distribution, release, debian, properties=properties)
    command = Command("host", folder / f"{distribution}-store", folder / f"{distribution}-out", ())
    with serve(mirror.folder) as address:
        yield Synthetic(command, mirror, address, release)


def in_tree(tree: Path, *command: str) -> str:
    """Run a command of a finished tree's own, with the tree as its root; what it printed. Fails where it fails."""
    done = subprocess.run(["chroot", str(tree), *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.args}: {done.stdout}{done.stderr}"
    return done.stdout


def install_one_more(tree: Path, mirror: Synthetic, package: str) -> None:
    """Install a package by the finished tree's own package manager, from the mirror, as its user would: with its key.

    Fails where it is not installed. The mirror is a package source of the tree from then on.
    """
    suse = mirror.mirror.distribution == "opensuse"
    folder = tree / ("etc/zypp/repos.d" if suse else "etc/yum.repos.d")
    shutil.copy(mirror.mirror.trusted, tree / "etc/mirror.key")
    for number, place in enumerate(mirror.mirror.places):
        (folder / f"mirror-{number}.repo").write_text(
            f"[mirror-{number}]\nname=mirror-{number}\nbaseurl={mirror.address}/{place}\nenabled=1\ngpgcheck=1\n"
            "gpgkey=file:///etc/mirror.key\n"
        )
    own = next(file.stem for file in folder.glob("*.repo") if not file.stem.startswith("mirror-"))
    install = f"dnf --assumeyes --disablerepo='*' --enablerepo='mirror-*' install {package}"
    if suse:
        install = (
            f"zypper modifyrepo --disable {own}; zypper --non-interactive --gpg-auto-import-keys install {package}"
        )
    mounts = 'mount --rbind /dev "$0/dev" && mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'
    command = ["unshare", "--mount", "sh", "-c", mounts, str(tree), "bash", "-c", install]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert in_tree(tree, "rpm", "-q", package)


def check_rpm_tree(tree: Path, system: str, release: str) -> dict[str, str]:
    """What a user would look at first: the tree's own rpm knows its packages, and all of their files are as packed.

    Its os-release is what was asked for, and its package manager's settings name none of the build's. Returns the
    packages that it lists, with the times of their installation.
    """
    listed = in_tree(tree, "rpm", "-qa", "--queryformat", "%{NAME} %{INSTALLTID}\n").splitlines()
    packages = dict(line.rpartition(" ")[::2] for line in listed)
    named = {
        line.partition("=")[0]: line.partition("=")[2].strip('"')
        for line in in_tree(tree, "cat", "/etc/os-release").splitlines()
    }
    assert (named["ID"], named["VERSION_ID"]) == (system, release)
    assert "gpg-pubkey" not in packages, "the mirror's key is none of the image's packages' own"
    changed = in_tree(tree, "bash", "-c", "rpm -Va --noconfig --nomtime --nocaps || true").splitlines()
    unexpected = [line for line in changed if not MAY_CHANGE.match(line.split()[-1])]
    assert not unexpected, "\n".join(unexpected)
    return packages


def check_dpkg_tree(tree: Path, system: str, codename: str) -> set[str]:
    """The same of a tree of dpkg's: no file of its packages is changed, none is half installed. Returns their names."""
    wanted = "${db:Status-Abbrev} ${Package}\\n"
    listed = in_tree(tree, "dpkg-query", "--show", "--showformat", wanted).splitlines()
    packages = {line.rpartition(" ")[2] for line in listed if line.startswith("ii ")}
    assert len(packages) == len(listed)
    assert packages == {package.name for package in package_database.read(tree)}
    assert in_tree(tree, "dpkg", "--audit") == ""
    assert in_tree(tree, "dpkg", "--verify") == ""
    named = in_tree(tree, "cat", "/etc/os-release").splitlines()
    assert {f"ID={system}", f"VERSION_CODENAME={codename}"} <= set(named)
    return packages


def check_pacman_tree(tree: Path, unlike: re.Pattern[str]) -> set[str]:
    """The same of a tree of pacman's, whose own pacman looks at each file; ``unlike`` may differ. Returns the names."""
    packages = set(in_tree(tree, "pacman", "-Qq").split())
    assert packages == {package.name for package in package_database.read(tree)}
    done = subprocess.run(["chroot", str(tree), "pacman", "-Qkk"], capture_output=True, text=True, check=False)
    looked_at = re.findall(r"(?m)^(\S+): \d+ total files?, ", done.stdout)
    assert set(looked_at) == packages, "packages without a list of files say nothing of them"
    differs = [line for line in done.stderr.splitlines() if not unlike.search(line)]
    assert not differs, "\n".join(differs)
    assert "ID=arch" in in_tree(tree, "cat", "/etc/os-release").splitlines()
    return packages


def login(disk: Path, name: str, firmware: str = "bios") -> str:
    """Start a machine from the disk and wait for the login of one of this name; what its console said.

    A status line may cut the prompt in two, behind the name.
    """
    console = boot(disk, "--firmware", firmware)
    assert re.search(rf"^{name} ?(?:login:|\n(?:.*\n)* ?login:)", console, re.MULTILINE), console[-2000:]
    return console


def boot(disk: Path, *options: str) -> str:
    """``dib-ctr boot`` with options; what the machine's console said. Fails where the machine does not come up."""
    words = ("boot", "--timeout", str(BOOT_TIME), *options, str(disk))
    done = subprocess.run([sys.executable, "-m", "builder.cli", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    return done.stdout
