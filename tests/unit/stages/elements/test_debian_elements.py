"""The elements of Debian and Ubuntu: their package sources and kernels."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from stages.element.resolve import BUILTIN
from tests.unit.stages.elements.builtin import MIRRORS, source


def sources_of(result: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines of DIB_APT_SOURCES_CONF that a snippet exported."""
    assert result.returncode == 0, result.stderr
    text = result.stdout.split("DIB_APT_SOURCES_CONF=", 1)[1]
    return [line for line in text.splitlines() if ":deb " in line]


DEBIAN = "debian-minimal/environment.d/10-debian-minimal.bash"
UBUNTU = "ubuntu-minimal/environment.d/10-ubuntu-minimal.bash"


def test_debian_sources() -> None:
    assert sources_of(source(DEBIAN, MIRRORS)) == [
        "default:deb http://mirror.invalid/debian trixie main",
        "updates:deb http://mirror.invalid/debian trixie-updates main",
        "security:deb http://mirror.invalid/debian-security trixie-security main",
    ]
    chosen = {
        "DIB_RELEASE": "bookworm",
        "DIB_DISTRIBUTION_MIRROR": "http://second.invalid/debian",
        "DIB_DEBIAN_DISTRIBUTION_MIRROR": "http://first.invalid/debian",
        "DIB_DEBIAN_SECURITY_MIRROR": "http://first.invalid/security",
        "DIB_DEBIAN_COMPONENTS": "main,contrib",
    }
    assert sources_of(source(DEBIAN, {**MIRRORS, **chosen})) == [
        "default:deb http://first.invalid/debian bookworm main contrib",
        "updates:deb http://first.invalid/debian bookworm-updates main contrib",
        "security:deb http://first.invalid/security bookworm-security main contrib",
    ]


@pytest.mark.parametrize("release", ["testing", "unstable", "sid"])
def test_rolling_debian_has_one_source(release: str) -> None:
    lines = sources_of(
        source(DEBIAN, {"DIB_RELEASE": release, "DIB_CTR_DEBIAN_MIRROR": "http://mirror.invalid/debian"})
    )
    assert lines == [f"default:deb http://mirror.invalid/debian {release} main"]


def test_ubuntu_sources() -> None:
    assert sources_of(source(UBUNTU, MIRRORS)) == [
        "default:deb http://mirror.invalid/ubuntu noble main universe",
        "updates:deb http://mirror.invalid/ubuntu noble-updates main universe",
        "security:deb http://mirror.invalid/ubuntu noble-security main universe",
        "backports:deb http://mirror.invalid/ubuntu noble-backports main universe",
    ]


@pytest.mark.parametrize(
    ("release", "file"), [("jammy", ""), ("noble", "ubuntu.sources"), ("resolute", "ubuntu.sources")]
)
def test_later_ubuntus_have_their_sources_in_one_file(release: str, file: str) -> None:
    said = source(UBUNTU, {**MIRRORS, "DIB_RELEASE": release}).stdout
    assert (f"DIB_CTR_APT_SOURCES_FILE={file}" in said) is bool(file)


def test_a_snapshots_addresses_leave_the_sources(tmp_path: Path) -> None:
    """In both forms that a file of sources has, with a slash behind the address and without."""
    folder = tmp_path / "etc/apt/sources.list.d"
    folder.mkdir(parents=True)
    one_line, paragraph = "deb [signed-by=/k] {0} noble main\ndeb {0}/ noble main\n", "URIs: {0}\nURIs: {0}/\n"
    for name, text in (("a.list", one_line), ("b.sources", paragraph)):
        (folder / name).write_text(text.format("http://snapshot.invalid/1"))
    variables = {
        "TARGET_ROOT": str(tmp_path),
        "DIB_CTR_SNAPSHOT_ADDRESSES": "http://a.invalid http://snapshot.invalid/1",
    }
    script = BUILTIN / "dpkg/cleanup.d/60-undo-build-settings"
    subprocess.run([script], env={"PATH": os.environ["PATH"], **variables}, check=True)
    assert (folder / "a.list").read_text() == one_line.format("http://a.invalid")
    assert (folder / "b.sources").read_text() == paragraph.format("http://a.invalid")


def test_given_sources_are_taken_as_they_are() -> None:
    given = {"DIB_APT_SOURCES_CONF": "mine:deb http://mirror.invalid/x suite main"}
    for snippet in (DEBIAN, UBUNTU):
        assert sources_of(source(snippet, given)) == [given["DIB_APT_SOURCES_CONF"]]


@pytest.mark.parametrize(
    ("snippet", "variables", "named"),
    [
        (DEBIAN, {}, "DIB_DISTRIBUTION_MIRROR"),
        (UBUNTU, {}, "DIB_DISTRIBUTION_MIRROR"),
        (DEBIAN, {"DIB_DISTRIBUTION_MIRROR": "http://mirror.invalid/debian"}, "DIB_DEBIAN_SECURITY_MIRROR"),
    ],
)
def test_a_missing_mirror_is_named(snippet: str, variables: dict[str, str], named: str) -> None:
    result = source(snippet, variables)
    assert result.returncode != 0
    assert f"set {named}" in result.stderr


RAMDISK = "ramdisk-base/environment.d/20-ramdisk-base.bash"


@pytest.mark.parametrize(
    ("arch", "kernel"),
    [("amd64", "linux-image-amd64"), ("armhf", "linux-image-armmp"), ("ppc64el", "linux-image-powerpc64le")],
)
def test_kernel_of_the_architecture(arch: str, kernel: str) -> None:
    result = source("linux-image/environment.d/15-linux-image.bash", {"DISTRO_NAME": "debian", "ARCH": arch})
    assert f"DIB_LINUX_IMAGE={kernel}\n" in result.stdout
    for snippet, name in (("vm/environment.d/20-vm.bash", "VM"), (RAMDISK, "RAMDISK")):
        found = source(snippet, {"DIB_LINUX_IMAGE": kernel})
        assert f"DIB_{name}_KERNEL={kernel}\n" in found.stdout
        unknown = source(snippet, {"DIB_LINUX_IMAGE": ""})
        assert unknown.returncode == 1
        assert f"set DIB_{name}_KERNEL" in unknown.stderr


def test_ubuntus_kernel_comes_with_what_makes_its_ram_disk() -> None:
    variables = {"DISTRO_NAME": "ubuntu", "ARCH": "amd64"}
    snippet = "linux-image/environment.d/15-linux-image.bash"
    assert "DIB_LINUX_IMAGE=linux-image-generic initramfs-tools\n" in source(snippet, variables).stdout
    chosen = source(snippet, {**variables, "DIB_UBUNTU_KERNEL": "linux-image-virtual"})
    assert "DIB_LINUX_IMAGE=linux-image-virtual initramfs-tools\n" in chosen.stdout


@pytest.mark.parametrize(("release", "kernel"), [("bookworm", "linux-image-686-pae"), ("trixie", "")])
def test_debian_has_no_kernel_for_i386_any_more(release: str, kernel: str) -> None:
    known = {"DISTRO_NAME": "debian", "ARCH": "i386", "DIB_RELEASE": release}
    assert f"DIB_LINUX_IMAGE={kernel}\n" in source("linux-image/environment.d/15-linux-image.bash", known).stdout
