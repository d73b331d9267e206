"""Distributions of other families on a host that has none of their package tools, as an ordinary user, with podman.

The build image has the tools. A mount namespace hides the host's own: what the host side calls fails as it would there.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.build_image import ensure
from stages.tree import package_database
from tests.integration.engine_cases import VOLUME, Case, missing
from tests.integration.synthetic import mirrors_folder
from tests.mirrors import small
from tests.mirrors.debian import DebianTree
from tests.mirrors.serve import serve
from tests.mirrors.small import Family

pytestmark = [
    pytest.mark.slow,
    pytest.mark.thorough("each family's build image is made anew, for a user that has none"),
]
TOOLS = (
    *("rpm", "rpm2cpio", "rpmbuild", "rpmdb", "rpmkeys", "createrepo_c", "dnf", "dnf-3", "dnf5", "yum", "zypper"),
    *("pacman", "pacman-key", "pacman-conf", "repo-add", "vercmp", "apk", "emerge"),
)
HIDING = f"""
for tool in {" ".join(TOOLS)}; do
    for place in $(type -a -P "$tool"; echo /usr/sbin/$tool); do
        if [ -e "$place" ]; then mount --bind /dev/null "$place"; fi
    done
done
exec "$@"
"""
HIDDEN = ("unshare", "--mount", "--propagation", "private", "bash", "-eu", "-c", HIDING, "hiding")


@pytest.fixture(scope="module")
def folder(open_folder: Path) -> Iterator[Path]:
    yield from mirrors_folder(open_folder, "without-tools")


@pytest.fixture(scope="module")
def user(folder: Path, other_user: pwd.struct_passwd) -> Case:
    """The ordinary user, with podman and a folder of his own."""
    if shutil.which("podman") is None:
        missing("there is no podman")
    own = folder / "user"
    own.mkdir()
    os.chown(own, other_user.pw_uid, other_user.pw_gid)
    environment = {"XDG_CACHE_HOME": str(own / "cache"), "DIB_CTR_STORE": VOLUME}
    return Case("podman-user", "podman", ensure.reference(), other_user, environment)


def test_the_tools_are_hidden(user: Case) -> None:
    """All that this machine has of them, from who would call them."""
    names = [name for name in TOOLS if shutil.which(name)]
    assert names, "this machine has none to hide"
    for name in names:
        done = subprocess.run([*HIDDEN, *user.words(), name, "--version"], capture_output=True, check=False)
        assert done.returncode in (126, 127), name


@pytest.mark.parametrize("family", small.FAMILIES.values(), ids=lambda family: family.name)
def test_a_family_builds_without_its_tools(
    user: Case, folder: Path, small_tree: DebianTree, open_code: dict[str, str], family: Family
) -> None:
    made = small.make(family, folder / family.name, small_tree)
    work = folder / "user" / family.name
    work.mkdir()
    os.chown(work, user.user.pw_uid, user.user.pw_gid)
    with serve(folder / family.name) as address:
        variables = {**made, "DIB_DISTRIBUTION_MIRROR": address}
        settings = [f"--set={name}={value}" for name, value in variables.items()]
        code = [f"{name}={value}" for name, value in open_code.items()]
        command = [*HIDDEN, *user.words(), *code, "/usr/bin/python3", "-m", "builder.cli", "build"]
        ask = ["--engine", "podman", "-o", f"tar,dest={work}/tree.tar", "-p", small.EXTRA, family.element]
        done = subprocess.run([*command, *settings, *ask], cwd=work, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    tree = work / "tree"
    tree.mkdir()
    subprocess.run(["tar", "-xpf", f"{work}/tree.tar", "-C", str(tree), "--exclude=./dev/*"], check=True)
    assert {"bash", small.EXTRA} <= {package.name for package in package_database.read(tree)}
