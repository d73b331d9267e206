"""alpine-minimal's settings and the element apk's command, without apk."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from stages.element.resolve import BUILTIN
from stages.repositories.state import from_environment
from tests.unit.stages.elements.builtin import known

SETTINGS = BUILTIN / "alpine-minimal/environment.d/10-alpine-minimal.bash"
KERNEL = BUILTIN / "linux-image/environment.d/15-linux-image.bash"
MIRROR = "http://mirror.invalid/alpine"


def source(*snippets: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Source snippets as a build does; standard output has the variables, a NUL behind each."""
    command = "set -ue -o pipefail; " + "".join(f"source {snippet}; " for snippet in snippets) + "env -0"
    environment = {"PATH": os.environ["PATH"], **known(["alpine-minimal"], variables), **variables}
    return subprocess.run(["/bin/bash", "-c", command], env=environment, capture_output=True, text=True, check=False)


def exported(*snippets: Path, **variables: str) -> dict[str, str]:
    """The variables after sourcing the snippets."""
    done = source(*snippets, **variables)
    assert done.returncode == 0, done.stderr
    return dict(line.split("=", 1) for line in done.stdout.split("\0") if "=" in line)


@pytest.mark.parametrize(("given", "folder"), [("", "v3.23"), ("3.21", "v3.21"), ("v3.20", "v3.20"), ("edge", "edge")])
def test_repositories_of_the_release(given: str, folder: str) -> None:
    found = exported(SETTINGS, ARCH="arm64", DIB_RELEASE=given, DIB_CTR_ALPINE_MIRROR=f"{MIRROR}/")
    assert found["DIB_RELEASE"] == folder
    assert [(repository.name, repository.index) for repository in from_environment(found)] == [
        ("main", f"{MIRROR}/{folder}/main/aarch64/APKINDEX.tar.gz"),
        ("community", f"{MIRROR}/{folder}/community/aarch64/APKINDEX.tar.gz"),
    ]


@pytest.mark.parametrize(
    ("arch", "own", "kernel"),
    [
        ("amd64", "x86_64", "linux-virt"),
        ("armhf", "armv7", "linux-virt"),
        ("i386", "x86", "linux-virt"),
        ("ppc64el", "ppc64le", "linux-virt"),
        ("riscv64", "riscv64", "linux-lts"),
    ],
)
def test_architectures(arch: str, own: str, kernel: str) -> None:
    found = exported(SETTINGS, KERNEL, ARCH=arch, DIB_DISTRIBUTION_MIRROR=MIRROR)
    assert (found["DIB_ALPINE_ARCH"], found["DIB_LINUX_IMAGE"]) == (own, f"{kernel} mkinitfs")


def test_what_cannot_be_is_said() -> None:
    result = source(SETTINGS, ARCH="sparc64", DIB_DISTRIBUTION_MIRROR=MIRROR)
    assert result.returncode != 0
    assert "no architecture 'sparc64'" in result.stderr


def test_the_default_mirror_is_the_facts() -> None:
    found = exported(SETTINGS, ARCH="amd64")
    assert found["DIB_DISTRIBUTION_MIRROR"] == found["DIB_FACT_MIRROR"]


@pytest.mark.parametrize(
    ("arguments", "called"),
    [
        (["bash", "sudo"], "--no-progress --update-cache add bash sudo"),
        (["-e", "bash"], "--no-progress del bash"),
        (["-u"], "--no-progress --update-cache upgrade"),
        (["-m", "vm", "one"], "--no-progress --update-cache add vm-one vm-more"),
    ],
)
def test_install_packages_calls_apk(tmp_path: Path, arguments: list[str], called: str) -> None:
    for name, text in {"apk": 'echo "$*"', "pkg-map": 'printf "%s\\n" "$2-$3" "$2-more"'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    argv = [str(BUILTIN / "apk/bin/install-packages"), *arguments]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"{called}\n"


def test_install_packages_without_packages_and_with_a_wrong_option() -> None:
    command = BUILTIN / "apk/bin/install-packages"
    nothing = subprocess.run([command, "-e"], capture_output=True, text=True, check=False)
    assert (nothing.returncode, nothing.stdout) == (0, "install-packages: no packages to remove\n")
    assert subprocess.run([command, "-x"], capture_output=True, check=False).returncode == 1
