"""What the element `gentoo` makes of architecture, profile and mirror."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping

import pytest

from stages.element.resolve import BUILTIN
from tests.unit.stages.elements.builtin import known

SNIPPET = BUILTIN / "gentoo/environment.d/10-gentoo.bash"
MIRROR = "http://mirror.invalid/gentoo"
WANTED = (
    "DIB_INIT_SYSTEM",
    "GENTOO_PROFILE",
    "GENTOO_STAGE3",
    "GENTOO_BINHOST",
    "DIB_CTR_REPOSITORIES",
    "GENTOO_EMERGE_ENV",
)


def source(variables: Mapping[str, str], before: str = "") -> subprocess.CompletedProcess[str]:
    command = f"set -ue -o pipefail; {before} source {SNIPPET}; " + "".join(
        f'echo "${{{name}}}"; echo =; ' for name in WANTED
    )
    facts = known(["gentoo"], variables)
    environment = {"PATH": os.environ["PATH"], "DIB_CTR_GENTOO_MIRROR": f"{MIRROR}/", **facts, **variables}
    return subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=False)


def settings(variables: Mapping[str, str], before: str = "") -> dict[str, str]:
    """What the snippet exports of what is wanted."""
    done = source(variables, before)
    assert done.returncode == 0, done.stderr
    return dict(zip(WANTED, done.stdout.split("\n=\n"), strict=False))


@pytest.mark.parametrize(
    ("arch", "profile", "stage3", "binhost"),
    [
        ("amd64", "amd64/23.0", "amd64-openrc", "amd64/binpackages/23.0/x86-64"),
        ("i386", "x86/23.0/i686", "i686-openrc", "x86/binpackages/23.0/i686"),
        ("arm64", "arm64/23.0", "arm64-openrc", "arm64/binpackages/23.0/arm64"),
        ("armhf", "arm/23.0/armv7a_hf", "armv7a_hardfp-openrc", "arm/binpackages/23.0/armv7a_hardfp"),
        ("ppc64el", "ppc64le/23.0", "ppc64le-openrc", "ppc/binpackages/23.0/ppc64le"),
        ("riscv64", "riscv/23.0/rv64/lp64d", "rv64_lp64d-openrc", "riscv/binpackages/23.0/rv64_lp64d"),
        ("s390x", "s390/23.0/s390x", "s390x-openrc", "s390/binpackages/23.0/s390x"),
    ],
)
def test_every_architecture_has_a_profile_and_a_stage(arch: str, profile: str, stage3: str, binhost: str) -> None:
    found = settings({"ARCH": arch})
    assert found["GENTOO_PROFILE"] == f"default/linux/{profile}"
    assert found["GENTOO_STAGE3"] == stage3
    assert found["GENTOO_BINHOST"] == f"{MIRROR}/releases/{binhost}"
    assert found["DIB_INIT_SYSTEM"] == "openrc"
    folder = binhost.partition("/")[0]
    assert found["DIB_CTR_REPOSITORIES"].splitlines() == [
        f"stage3 {MIRROR}/releases/{folder}/autobuilds/latest-stage3-{stage3}.txt",
        f"ebuilds {MIRROR}/snapshots/gentoo-latest.tar.xz.gpgsig",
        f"binhost {MIRROR}/releases/{binhost}/Packages",
    ]


@pytest.mark.parametrize(
    ("below", "stage3"),
    [
        ("/systemd", "amd64-systemd"),
        ("/no-multilib", "amd64-nomultilib-openrc"),
        ("/no-multilib/systemd", "amd64-nomultilib-systemd"),
        ("/no-multilib/hardened", "amd64-hardened-nomultilib-openrc"),
        ("/hardened/systemd", "amd64-hardened-systemd"),
        ("/musl/hardened", "amd64-musl-hardened"),
        ("/split-usr", "amd64-openrc-splitusr"),
    ],
)
def test_the_profile_says_which_stage(below: str, stage3: str) -> None:
    found = settings({"ARCH": "amd64", "GENTOO_PROFILE": f"default/linux/amd64/23.0{below}"})
    assert found["GENTOO_STAGE3"] == stage3
    assert found["DIB_INIT_SYSTEM"] == ("systemd" if "systemd" in below else "openrc")
    assert (found["GENTOO_BINHOST"] == "none") == ("musl" in below)


def test_an_init_system_chooses_the_profile() -> None:
    found = settings({"ARCH": "arm64", "DIB_INIT_SYSTEM": "systemd"})
    assert found["GENTOO_PROFILE"] == "default/linux/arm64/23.0/systemd"
    assert found["GENTOO_STAGE3"] == "arm64-systemd"


def test_a_day_is_one_stage_and_its_ebuilds() -> None:
    lines = settings({"ARCH": "amd64", "DIB_RELEASE": "20251109T170101Z", "GENTOO_BINHOST": "none"})
    folder = f"{MIRROR}/releases/amd64/autobuilds/20251109T170101Z"
    assert lines["DIB_CTR_REPOSITORIES"].splitlines() == [
        f"stage3 {folder}/stage3-amd64-openrc-20251109T170101Z.tar.xz.DIGESTS",
        f"ebuilds {MIRROR}/snapshots/gentoo-20251109.tar.xz.gpgsig",
    ]


def test_assignments_for_emerge_come_as_lines() -> None:
    assert settings({"ARCH": "amd64"})["GENTOO_EMERGE_ENV"] == 'USE="-build"'
    array = "GENTOO_EMERGE_ENV=('USE=\"a b\"' 'MAKEOPTS=\"-j2\"');"
    assert settings({"ARCH": "amd64"}, array)["GENTOO_EMERGE_ENV"] == 'USE="a b"\nMAKEOPTS="-j2"'
    assert settings({"ARCH": "amd64", "GENTOO_EMERGE_ENV": "USE=c"})["GENTOO_EMERGE_ENV"] == "USE=c"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"ARCH": "alpha"}, "no stage 3 for alpha"),
        ({"ARCH": "amd64", "DIB_CTR_GENTOO_MIRROR": ""}, "DIB_DISTRIBUTION_MIRROR"),
        ({"ARCH": "amd64", "DIB_RELEASE": "2025"}, "DIB_RELEASE is '2025'"),
        ({"ARCH": "arm64", "GENTOO_PROFILE": "default/linux/amd64/23.0"}, "begins with default/linux/arm64/23.0"),
        ({"ARCH": "amd64", "GENTOO_PROFILE": "default/linux/amd64/23.01"}, "begins with default/linux/amd64/23.0"),
    ],
)
def test_what_there_is_not_is_refused(variables: Mapping[str, str], said: str) -> None:
    done = source(variables)
    assert done.returncode == 1
    assert said in done.stderr
