"""The elements of Fedora's and Red Hat's family as far as they can be tried without a build."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from stages.element.resolve import BUILTIN
from tests.unit.stages.elements.builtin import known, source

MIRROR = "http://mirror.invalid/pub"


def environment_of(system: str, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """What the snippets of an operating system and of its bootstrap export, sourced as a build does."""
    element = "rhel" if system == "rhel" else f"{system}-minimal"
    snippets = " ".join(
        f"source {BUILTIN / name};"
        for name in (
            f"{element}/environment.d/10-{element}.bash",
            "yum-minimal/environment.d/12-yum-minimal.bash",
        )
    )
    return subprocess.run(
        ["/bin/bash", "-c", f"set -ue -o pipefail; {snippets} env -0"],
        env={"PATH": os.environ["PATH"], "ARCH": "amd64", **known([element], variables), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def exported(system: str, **variables: str) -> dict[str, str]:
    done = environment_of(system, variables)
    assert done.returncode == 0, done.stderr
    return dict(entry.partition("=")[::2] for entry in done.stdout.split("\0") if entry)


def indices(found: Mapping[str, str]) -> list[str]:
    """The lines of DIB_CTR_REPOSITORIES, without what they begin with alike."""
    return [line.replace(f"{MIRROR}/", "") for line in found["DIB_CTR_REPOSITORIES"].splitlines()]


def test_fedora() -> None:
    found = exported("fedora", DIB_RELEASE="42", DIB_CTR_FEDORA_MIRROR=f"{MIRROR}/", ARCH="arm64")
    assert indices(found) == [
        "fedora releases/42/Everything/aarch64/os/repodata/repomd.xml",
        "updates updates/42/Everything/aarch64/repodata/repomd.xml",
    ]
    assert found["DIB_RPM_KEYS"].endswith("/fedora/RPM-GPG-KEY-fedora-42-primary")
    assert found["DIB_RPM_PLATFORM"] == "platform:f42"
    rawhide = exported("fedora", DIB_RELEASE="rawhide", DIB_DISTRIBUTION_MIRROR=MIRROR)
    assert indices(rawhide) == ["rawhide development/rawhide/Everything/x86_64/os/repodata/repomd.xml"]


def test_what_an_operating_system_says_itself_goes_before_the_facts() -> None:
    found = exported("rocky", DIB_RPM_LAYOUT="own there/@ARCH@", DIB_RPM_DBPATH="/own", DIB_DISTRIBUTION_MIRROR=MIRROR)
    assert indices(found) == ["own there/x86_64/repodata/repomd.xml"]
    assert (found["DIB_RPM_DBPATH"], found["DIB_RPM_RELEASE"]) == ("/own", "9")


@pytest.mark.parametrize("release", ["10", "10-stream"])
def test_a_release_of_centos_has_two_names(release: str) -> None:
    found = exported("centos", DIB_RELEASE=release, DIB_DISTRIBUTION_MIRROR=MIRROR)
    assert indices(found) == [
        "baseos 10-stream/BaseOS/x86_64/os/repodata/repomd.xml",
        "appstream 10-stream/AppStream/x86_64/os/repodata/repomd.xml",
    ]
    assert (found["DIB_RELEASE"], found["DIB_RPM_RELEASE"]) == ("10-stream", "10")
    assert found["DIB_RPM_KEYS"].endswith("/RPM-GPG-KEY-CentOS-Official-SHA256")


@pytest.mark.parametrize(
    ("release", "database"), [("9", "/var/lib/rpm"), ("9.5", "/var/lib/rpm"), ("10", "/usr/lib/sysimage/rpm")]
)
@pytest.mark.parametrize("system", ["rocky", "almalinux"])
def test_where_the_release_has_its_database(system: str, release: str, database: str) -> None:
    found = exported(system, DIB_RELEASE=release, **{f"DIB_CTR_{system.upper()}_MIRROR": MIRROR})
    assert found["DIB_RPM_DBPATH"] == database
    assert indices(found)[0] == f"baseos {release}/BaseOS/x86_64/os/repodata/repomd.xml"
    assert found["DIB_RPM_KEYS"].endswith(f"-{release.partition('.')[0]}")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (
            {"ARCH": "riscv64"},
            "fedoraproject.org/repos-dist/f44/latest/riscv64 and are signed by nobody",
        ),
        ({"DIB_DISTRIBUTION_MIRROR": MIRROR, "ARCH": "i386"}, "not made for i386"),
        ({"DIB_DISTRIBUTION_MIRROR": MIRROR, "DIB_SELINUX_MODE": "off"}, "expected enforcing, permissive or disabled"),
        ({"DIB_YUM_MINIMAL_BOOTSTRAP_REPOS": "/no/such"}, "expected a folder with *.repo files"),
    ],
)
def test_what_cannot_be_is_refused(variables: dict[str, str], said: str) -> None:
    done = environment_of("fedora", variables)
    assert done.returncode != 0
    assert said in done.stderr


def test_without_a_mirror_the_lists_of_mirrors_count() -> None:
    fedora = "metalink=https://mirrors.fedoraproject.org/metalink?arch=aarch64&repo"
    assert indices(exported("fedora", DIB_RELEASE="43", ARCH="arm64")) == [
        f"fedora {fedora}=fedora-43",
        f"updates {fedora}=updates-released-f43",
    ]
    assert indices(exported("fedora", DIB_RELEASE="rawhide", ARCH="arm64")) == [f"rawhide {fedora}=rawhide"]
    own = exported("fedora", DIB_RELEASE="rawhide", DIB_FEDORA_METALINK="http://own.invalid/m")
    assert indices(own) == ["rawhide metalink=http://own.invalid/m?arch=x86_64&repo=rawhide"]
    centos = "metalink=https://mirrors.centos.org/metalink?arch=x86_64&protocol=https,http&repo"
    assert indices(exported("centos", DIB_RELEASE="10"))[1] == f"appstream {centos}=centos-appstream-10-stream"
    rocky = "mirrorlist=https://mirrors.rockylinux.org/mirrorlist?arch=x86_64&repo"
    assert indices(exported("rocky", DIB_RELEASE="9"))[0] == f"baseos {rocky}=BaseOS-9 repodata/repomd.xml"
    alma = "mirrorlist=https://mirrors.almalinux.org/mirrorlist/10/appstream repodata/repomd.xml basearch=x86_64"
    assert indices(exported("almalinux", DIB_RELEASE="10"))[1] == f"appstream {alma}"


@pytest.mark.parametrize(("release", "major"), [("9", "9"), ("9.6", "9"), ("10", "10")])
def test_rhel_without_a_subscription_is_the_universal_base_image(release: str, major: str) -> None:
    """By the names and places of its own ubi.repo."""
    base = f"https://cdn-ubi.redhat.com/content/public/ubi/dist/ubi{major}/{major}/aarch64"
    parts = {part: f"ubi-{major}-{part}-rpms" for part in ("baseos", "appstream")}
    assert indices(exported("rhel", DIB_RELEASE=release, ARCH="arm64")) == [
        f"{name} {base}/{part}/os/repodata/repomd.xml" for part, name in parts.items()
    ]
    own = exported("rhel", DIB_RELEASE=release, DIB_DISTRIBUTION_MIRROR=MIRROR)
    assert indices(own) == [f"{name} x86_64/{part}/os/repodata/repomd.xml" for part, name in parts.items()]


def test_a_machines_own_mirror_goes_before_the_lists() -> None:
    found = exported("fedora", DIB_RELEASE="43", DIB_CTR_FEDORA_MIRROR=MIRROR)
    assert "metalink" not in found["DIB_CTR_REPOSITORIES"]


def test_fedora_for_riscv64_has_a_layout_of_its_own() -> None:
    found = exported("fedora", DIB_RELEASE="43", ARCH="riscv64", DIB_DISTRIBUTION_MIRROR=MIRROR)
    assert indices(found) == ["fedora repos-dist/f43/latest/riscv64/repodata/repomd.xml"]
    rawhide = exported("fedora", DIB_RELEASE="rawhide", ARCH="riscv64", DIB_DISTRIBUTION_MIRROR=MIRROR)
    assert indices(rawhide) == ["fedora repos-dist/rawhide/latest/riscv64/repodata/repomd.xml"]


def test_sources_of_ones_own_are_checked_and_pinned(tmp_path: Path) -> None:
    """Every signature by the build's keys, and every address but the build's own gone, also where options go on."""
    command = Path(shutil.copy2(BUILTIN / "yum-minimal/bin/pinned-package-sources", tmp_path))
    command.write_text(command.read_text(encoding="utf-8").replace("/dev/dib-ctr-repositories", str(tmp_path)))
    (tmp_path / "one.metalink").write_text("told\n")
    (tmp_path / "own.repo").write_text(
        "[one]\nbaseurl = http://one.invalid/a/\n  http://one.invalid/b/\nenabled=1\ngpgkey=file:///k1\n  file:///k2\n"
        "gpgcheck=0\nmetalink=http://one.invalid/m\n\n[odd/name]\nbaseurl=http://odd.invalid/\n  http://again.invalid/\n"
    )
    done = subprocess.run(
        [command, "file:///a file:///b", tmp_path / "own.repo"], capture_output=True, text=True, check=True
    )
    checked = "gpgcheck=1\ngpgkey=file:///a file:///b\n"
    assert done.stdout == (
        f"[one]\n{checked}metalink=file://{tmp_path}/one.metalink\nenabled=1\n\n"
        f"[odd/name]\n{checked}baseurl=http://odd.invalid/\n  http://again.invalid/\n"
    )


def test_sources_of_ones_own(tmp_path: Path) -> None:
    """Enabled ones count, in the order of the files; base addresses go before lists of mirrors."""
    (tmp_path / "a.repo").write_text(
        "[one]\nname=One\nbaseurl = http://one.invalid/$releasever/$basearch/\nenabled=1\n\n"
        "[off]\nbaseurl=http://off.invalid/\nenabled=0\n"
        "[two]\nmetalink=http://two.invalid/metalink?repo=f$releasever&arch=$basearch\n",
        encoding="utf-8",
    )
    (tmp_path / "b.repo").write_text("[three]\nmirrorlist=http://three.invalid/list\n", encoding="utf-8")
    found = exported("fedora", DIB_RELEASE="43", DIB_YUM_MINIMAL_BOOTSTRAP_REPOS=str(tmp_path))
    assert found["DIB_CTR_REPOSITORIES"].splitlines() == [
        "one http://one.invalid/43/x86_64/repodata/repomd.xml",
        "two metalink=http://two.invalid/metalink?repo=f43&arch=x86_64",
        "three mirrorlist=http://three.invalid/list repodata/repomd.xml",
    ]


@pytest.mark.parametrize("release", ["fedora", "centos", "rocky", "almalinux"])
def test_kernel_of_the_family(release: str) -> None:
    done = source("linux-image/environment.d/15-linux-image.bash", {"ARCH": "amd64", "DISTRO_NAME": release})
    assert "\nDIB_LINUX_IMAGE=kernel-core dracut\n" in done.stdout


def commands(folder: Path) -> Path:
    """install-packages beside commands that say how they were called; returns it."""
    install = Path(shutil.copy2(BUILTIN / "yum/bin/install-packages", folder))
    shutil.copy2(BUILTIN / "rpm/bin/note-failed-scriptlets", folder)
    for name in ("dnf", "use-build-repositories"):
        (folder / name).write_text(f'#!/bin/sh\necho {name} "$@"\n', encoding="utf-8")
        (folder / name).chmod(0o755)
    return install


@pytest.mark.parametrize(
    ("arguments", "called"),
    [
        (["one", "two"], "install one two"),
        (["-e", "one"], "remove one"),
        (["-u"], "upgrade"),
        (["-d", "/tmp/there", "one"], "download --resolve --destdir /tmp/there one"),
    ],
)
def test_install_packages_calls_dnf(tmp_path: Path, arguments: list[str], called: str) -> None:
    install = commands(tmp_path)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "YUM": "dnf", "DIB_DNF_TSFLAGS": "nodocs"}
    done = subprocess.run([install, *arguments], env=environment, capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first.strip() == "use-build-repositories"
    assert second.startswith("dnf --assumeyes --setopt=install_weak_deps=False")
    assert second.endswith(called)


def test_install_packages_keeps_to_the_state_of_the_plan(tmp_path: Path) -> None:
    """Also for package sources that the image brought along: dnf's last word is the build's."""
    install = commands(tmp_path)
    told = tmp_path / "told"
    told.mkdir()
    for name in ("updates", "fedora"):
        (told / f"{name}.metalink").touch()
    install.write_text(install.read_text(encoding="utf-8").replace("/dev/dib-ctr-repositories", str(told)))
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "YUM": "dnf", "DIB_DNF_TSFLAGS": "nodocs"}
    done = subprocess.run([install, "one"], env=environment, capture_output=True, text=True, check=True)
    for name in ("updates", "fedora"):
        assert f" --setopt={name}.metalink=file://{told}/{name}.metalink " in done.stdout


def test_install_packages_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    install = commands(tmp_path)
    assert subprocess.run([install, "-x"], capture_output=True, check=False).returncode == 1
    nothing = subprocess.run([install], capture_output=True, text=True, check=True)
    assert nothing.stdout == "install-packages: no packages to install\n"
