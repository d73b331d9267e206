"""Registration of a RHEL tree, with a stand-in for subscription-manager: no server of Red Hat's is asked."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from stages.element.resolve import BUILTIN

COMMAND = BUILTIN / "rhel-common/bin/with-registration"
SNIPPET = BUILTIN / "rhel-common/environment.d/20-rhel-common.bash"
KEY = "a-secret-key"
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")
# Leaves what the real one leaves, and says how it was called.
STAND_IN = """#!/bin/sh
echo "subscription-manager $*" >> /var/calls
case "$1" in
    register)
        mkdir -p /etc/pki/consumer /etc/pki/entitlement
        echo identity > /etc/pki/consumer/key.pem
        echo entitlement > /etc/pki/entitlement/1-key.pem
        echo sources > /etc/yum.repos.d/redhat.repo
        ;;
    config) echo changed >> /etc/rhsm/rhsm.conf ;;
esac
"""


class Tree:
    """A namespace whose /etc and /var are folders of the test, with the command and the stand-in on its path."""

    def __init__(self, folder: Path) -> None:
        """Make the folders and the user's files, of which the activation key is one."""
        self.etc, self.var, self.bin = folder / "etc", folder / "var", folder / "bin"
        for path in (self.etc / "rhsm", self.etc / "yum.repos.d", self.var, self.bin):
            path.mkdir(parents=True)
        (self.etc / "rhsm/rhsm.conf").write_text("as the package brings it\n", encoding="utf-8")
        self.key = folder / "activation-key"
        self.key.write_text(f"{KEY}\n", encoding="utf-8")
        self.authority = folder / "authority.pem"
        self.authority.write_text("authority\n", encoding="utf-8")
        shutil.copy2(COMMAND, self.bin)
        (self.bin / "subscription-manager").write_text(STAND_IN, encoding="utf-8")
        (self.bin / "subscription-manager").chmod(0o755)

    def run(self, variables: Mapping[str, str], *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command while the tree is registered as the variables say."""
        script = 'mount --bind "$1" /etc && mount --bind "$2" /var && shift 2 && exec with-registration "$@"'
        return subprocess.run(
            [*NAMESPACE, "sh", "-c", script, "sh", self.etc, self.var, *command],
            env={"PATH": f"{self.bin}:{os.environ['PATH']}", **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    def calls(self) -> list[str]:
        """How subscription-manager was called."""
        return (self.var / "calls").read_text(encoding="utf-8").splitlines()

    def settings(self, **more: str) -> dict[str, str]:
        """What environment.d makes of these variables, an organisation and the key."""
        given = {"REG_ORG": "12345", "REG_ACTIVATION_KEY": str(self.key), **more}
        done = source(given)
        assert done.returncode == 0, done.stderr
        return dict(entry.partition("=")[::2] for entry in done.stdout.split("\0") if entry.startswith("REG_"))


def source(variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Source the element's snippet as a build does."""
    return subprocess.run(
        ["/bin/bash", "-c", f"set -ue; source {SNIPPET}; env -0"],
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    probe = subprocess.run([*NAMESPACE, "true"], check=False)
    if probe.returncode:
        pytest.skip("no user namespace here")
    return Tree(tmp_path)


def nothing_is_left(tree: Tree) -> bool:
    """No file of the registration, and the package's own settings."""
    files = sorted(path.relative_to(tree.etc).as_posix() for path in tree.etc.rglob("*") if path.is_file())
    settings = (tree.etc / "rhsm/rhsm.conf").read_text(encoding="utf-8")
    return files == ["rhsm/rhsm.conf"] and settings == "as the package brings it\n"


def test_registered_only_while_the_command_runs(tree: Tree) -> None:
    settings = tree.settings(REG_METHOD="portal", REG_REPOS="one,two")
    done = tree.run(settings, "cat", "/etc/pki/entitlement/1-key.pem")
    assert (done.returncode, done.stdout) == (0, "entitlement\n"), done.stderr
    assert tree.calls() == [
        f"subscription-manager register --force --org 12345 --activationkey {KEY}",
        "subscription-manager repos --disable *",
        "subscription-manager repos --enable one",
        "subscription-manager repos --enable two",
        "subscription-manager unregister",
        "subscription-manager clean",
    ]
    assert nothing_is_left(tree)
    assert KEY not in done.stdout + done.stderr


def test_unregistered_when_the_command_fails(tree: Tree) -> None:
    done = tree.run(tree.settings(REG_METHOD="portal"), "sh", "-c", "exit 7")
    assert done.returncode == 7
    assert "subscription-manager unregister" in tree.calls()
    assert nothing_is_left(tree)


def test_satellite(tree: Tree) -> None:
    more = {"REG_SAT_URL": "https://satellite.invalid:8443/", "REG_SAT_CA": str(tree.authority)}
    done = tree.run(tree.settings(REG_METHOD="satellite", **more), "cat", "/etc/rhsm/ca/dib-ctr-satellite.pem")
    assert (done.returncode, done.stdout) == (0, "authority\n"), done.stderr
    assert tree.calls()[0] == (
        "subscription-manager config --server.hostname=satellite.invalid --server.port=8443 --server.prefix=/rhsm "
        "--rhsm.baseurl=https://satellite.invalid:8443/pulp/content "
        "--rhsm.repo_ca_cert=/etc/rhsm/ca/dib-ctr-satellite.pem"
    )
    assert nothing_is_left(tree)


SATELLITE = {"REG_METHOD": "satellite", "REG_SAT_URL": "https://satellite.invalid"}


def test_the_repository_of_the_satellites_own_tools_is_enabled(tree: Tree) -> None:
    settings = tree.settings(**SATELLITE, REG_SAT_CA=str(tree.authority), REG_SAT_REPO="own-tools", REG_REPOS="one")
    assert tree.run(settings, "true").returncode == 0
    enabled = [call.removeprefix("subscription-manager repos --enable ") for call in tree.calls() if "enable" in call]
    assert enabled == ["one", "own-tools"]


def test_by_default_it_is_the_releases_and_may_be_missing(tree: Tree) -> None:
    text = STAND_IN.replace("config)", "repos) exit 1 ;;\n    config)")
    (tree.bin / "subscription-manager").write_text(text, encoding="utf-8")
    settings = tree.settings(**SATELLITE, REG_SAT_CA=str(tree.authority))
    done = tree.run({**settings, "DIB_RELEASE": "10.1"}, "echo", "ran")
    name = f"satellite-client-6-for-rhel-10-{os.uname().machine}-rpms"
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert f"subscription-manager repos --enable {name}" in tree.calls()
    assert f"the repository {name} is not there; REG_SAT_REPO names another one" in done.stderr
    assert tree.run({**settings, "REG_SAT_REPO": "own-tools"}, "echo", "ran").returncode != 0


def test_without_registration_the_command_just_runs(tree: Tree) -> None:
    done = tree.run(tree.settings(REG_METHOD="disable"), "echo", "ran")
    assert done.stdout == "ran\n"
    assert not (tree.var / "calls").exists()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"REG_METHOD": "portal"}, "set it to the organisation"),
        ({"REG_METHOD": "portal", "REG_ORG": "1", "REG_ACTIVATION_KEY": KEY}, "path of a file that holds"),
        ({"REG_METHOD": "password"}, "expected portal, satellite or disable"),
        ({"REG_PASSWORD": "x"}, "REG_PASSWORD is not supported"),
    ],
)
def test_what_would_not_register_is_refused(variables: dict[str, str], said: str) -> None:
    done = source(variables)
    assert done.returncode != 0
    assert said in done.stderr
    assert KEY not in done.stderr
