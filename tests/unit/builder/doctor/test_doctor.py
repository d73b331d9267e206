"""What the doctor says to errors as engines and kernels word them, and how its report reads."""

from __future__ import annotations

import pytest

from builder.doctor.diagnosis import HostFacts, diagnose
from builder.doctor.doctor import Check, EngineReport, Report, render

USER = HostFacts(user="alice")
ROOT = HostFacts(user="root", uid=0)

# (what was said, facts, a word of the explanation, a word of the command)
SAID = [
    ("podman: not found", USER, "podman is not installed", "apt-get install podman"),
    ("docker: not found", USER, "docker is not installed", "apt-get install docker.io"),
    ("no socket", USER, "no socket", "systemctl --user start podman.socket"),
    ("no socket", ROOT, "no socket", "sudo systemctl start podman.socket"),
    (
        "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
        USER,
        "not running",
        "systemctl start docker",
    ),
    (
        "Error while fetching server API version: ('Connection aborted.', FileNotFoundError(2, 'No such file'))",
        USER,
        "not running",
        "systemctl start docker",
    ),
    (
        "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock",
        USER,
        "alice may not use",
        "usermod -aG docker alice",
    ),
    ("namespace: newuidmap is not there", USER, "newuidmap", "apt-get install uidmap"),
    (
        "Error: cannot set up namespace using newuidmap: exec: newuidmap: executable file not found in $PATH",
        HostFacts(newuidmap=False),
        "newuidmap",
        "apt-get install uidmap",
    ),
    (
        "namespace: no range of 65536 subordinate ids for alice in /etc/subuid",
        USER,
        "alice has no range",
        "usermod --add-subuids",
    ),
    (
        "potentially insufficient UIDs or GIDs available in user namespace (requested 0:42 for /etc/gshadow)",
        USER,
        "no range",
        "usermod --add-subuids",
    ),
    (
        "Error: crun: cgroups in hybrid mode not supported, drop all controllers from cgroupv2: OCI runtime error",
        HostFacts(has_runc=False, cgroup_version=1),
        "version 1",
        "apt-get install runc",
    ),
    (
        "runc create failed: error setting rlimits for ready process: error setting rlimit type 7: not permitted",
        USER,
        "limits",
        "ulimit",
    ),
    ("namespace: unshare: Operation not permitted", HostFacts(namespaces_off=True), "switched off", "sysctl"),
    (
        "namespace: write uid_map: Operation not permitted",
        HostFacts(uid=0, namespaces_off=True),
        "switched off",
        "sysctl",
    ),
    (
        "namespace: mount proc on /proc: Permission denied",
        HostFacts(apparmor_restricts=True),
        "AppArmor",
        "apparmor_restrict_unprivileged_userns=0",
    ),
    ("root of the container is root of the host", USER, "the host's own", "--engine podman"),
    ("Error: could not find slirp4netns, the network namespace can't be configured", USER, "network", "slirp4netns"),
    ("write /var/lib/x: no space left on device", USER, "full", "cache prune"),
    ("mount: unknown filesystem type 'binfmt_misc'", HostFacts(kernel=(6, 1)), "before Linux 6.7", "qemu-user-static"),
    ("mount: /store/m: wrong fs type, bad option, bad superblock on overlay", HostFacts(kernel=(5, 4)), "5.11", ""),
    ("mount: /store/m: wrong fs type, bad option, bad superblock on overlay", USER, "extended attributes", "DIB_CTR_S"),
    ("<urlopen error [Errno -3] Temporary failure in name resolution>", USER, "mirror", "DIB_CTR_DEBIAN_MIRROR"),
]


@pytest.mark.parametrize(("text", "facts", "explanation", "command"), SAID)
def test_known_errors(text: str, facts: HostFacts, explanation: str, command: str) -> None:
    """Each leads to its cause and the command that mends it on such a machine."""
    found = diagnose(text, facts)
    assert explanation in found.explanation
    assert command in found.command


def test_an_unknown_error_is_shown_as_it_is() -> None:
    """Its last line says most; nothing is made up."""
    found = diagnose("something\nwent quite wrong\n\n", USER)
    assert (found.explanation, found.command) == ("went quite wrong", "")


def test_an_error_with_a_cure_that_is_there_already_names_no_command() -> None:
    """runc is installed: installing it again mends nothing."""
    assert diagnose("crun: cgroups in hybrid mode not supported", USER).command == ""


def test_report() -> None:
    """What works in one line each; what does not with its cure."""
    good = EngineReport("host", True, (Check("overlay on the store", True, "userxattr"),))
    bad = EngineReport("docker", False, (Check("runs a container", False, "a\nsaid", True, "it is off", "start it"),))
    lines = render(Report(True, (good, bad))).splitlines()
    assert lines[0] == "host: works"
    assert lines[1].split() == ["ok", "overlay", "on", "the", "store", "userxattr"]
    assert lines[2] == "docker: does not work"
    assert lines[3].split(maxsplit=4)[0] == "WRONG"
    assert lines[3].endswith("it is off")
    assert lines[4].strip() == "mend: start it"
    assert lines[5].strip() == "it said: said"
    assert lines[6] == "builds can run with: host"


def test_report_where_nothing_works() -> None:
    """The last line says so."""
    assert render(Report(False, ())).splitlines()[-1].startswith("no engine works")
