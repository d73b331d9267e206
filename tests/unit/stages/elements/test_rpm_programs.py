"""The programs of the element ``rpm``: what they do with what package managers say, and with what trees have."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.mirrors.keys import Key
from tests.mirrors.rpm import ENDED

BIN = Path(__file__).parents[4] / "stages/elements/rpm/bin"


def run(name: str, *arguments: str, data: str = "", **variables: str) -> tuple[int, str]:
    """The exit status of a program and what it printed."""
    done = subprocess.run(
        ["bash", str(BIN / name), *arguments],
        input=data,
        env={**os.environ, **variables},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    "told",
    [
        "warning: %post(tool-1-1.x86_64) scriptlet failed, exit status 3",  # dnf, zypper
        ">>> [RPM] %post(tool-1-1.x86_64) scriptlet failed, exit status 3",  # dnf5
    ],
)
def test_a_scriptlet_that_failed_is_named_once(told: str) -> None:
    status, printed = run("note-failed-scriptlets", "printf", "%s\\n", "first", told, told, "last")
    assert status == 0
    note = (
        "dib-ctr note: the scriptlet %post of tool-1-1.x86_64 failed (exit status 3): the package is installed, and "
        "what the scriptlet does may be left undone"
    )
    assert printed.splitlines() == ["first", told, told, "last", note]


def test_what_failed_whole_is_left_to_the_package_manager() -> None:
    """Where a %pre fails the package is not installed, and the package manager's own status says so."""
    told = "error: %prein(tool-1-1.x86_64) scriptlet failed, exit status 3"
    assert run("note-failed-scriptlets", "bash", "-c", f"echo '{told}'; exit 1") == (1, f"{told}\n")


def test_zyppers_107_stays() -> None:
    told = "warning: %posttrans(tool-1-1.x86_64) scriptlet failed, signal 9"
    status, printed = run("note-failed-scriptlets", "bash", "-c", f"echo '{told}' >&2; exit 107")
    assert status == 107
    assert "%posttrans of tool-1-1.x86_64 failed (signal 9)" in printed


def test_members_of_groups_are_made_after_their_users(tmp_path: Path) -> None:
    """rpm hands the lines over sorted by what they are of, in which groups' members come before users."""
    maker = tmp_path / "maker"
    maker.write_text('#!/bin/bash\necho "$@"\ncat\n')
    rpm = tmp_path / "rpm"
    rpm.write_text(f"#!/bin/bash\necho {maker}\n")
    for program in (maker, rpm):
        program.chmod(0o755)
    lines = 'g tools -\nm worker tools\nu worker - "Works" /var/lib/worker\n'
    path = f"{tmp_path}:{os.environ['PATH']}"
    status, printed = run("make-system-users", "--root", "/tree", "-", data=lines, PATH=path)
    assert status == 0
    assert printed.splitlines() == [
        "--root /tree -",
        "g tools -",
        'u worker - "Works" /var/lib/worker',
        "m worker tools",
    ]


@pytest.mark.parametrize(
    ("asked", "tree", "is_other"),
    [
        ("fedora 43", "fedora 43", False),
        ("fedora rawhide", "fedora 46", False),
        ("centos 9-stream", "centos 9", False),
        ("rocky 9", "rocky 9.6", False),
        ("opensuse 15.6", "opensuse-leap 15.6", False),
        ("fedora 43", "fedora 42", True),
        ("rocky 9", "rocky 95", True),
        ("rocky 9", "almalinux 9.6", True),
    ],
)
def test_a_tree_of_another_release_is_told(tmp_path: Path, asked: str, tree: str, is_other: bool) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").symlink_to("../usr/lib/os-release")
    system, version = tree.split()
    (tmp_path / "usr/lib/os-release").write_text(f'NAME=x\nID="{system}"\nVERSION_ID={version}\n')
    name, release = asked.split()
    status, printed = run("check-release", str(tmp_path), DISTRO_NAME=name, DIB_RELEASE=release)
    assert status == 0
    assert bool(printed) == is_other, printed


def test_a_key_that_has_ended_is_told_until_it_is_renewed(tmp_path: Path) -> None:
    if shutil.which("gpg") is None:
        pytest.skip("gpg is not installed")
    key = Key.make(tmp_path / "gnupg", "Synthetic Mirror", *ENDED)
    file = tmp_path / "RPM-GPG-KEY-synthetic"
    file.write_bytes(key.public())
    status, printed = run("note-ended-keys", str(file))
    assert status == 0
    assert printed.startswith("dib-ctr note: the key RPM-GPG-KEY-synthetic ended on 2024-06-19: ")
    file.write_bytes(key.renew().public())
    assert run("note-ended-keys", str(file)) == (0, "")
    file.write_text("no key")
    assert run("note-ended-keys", str(file), str(tmp_path / "none")) == (0, "")
