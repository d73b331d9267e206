"""What an engine's error means here and which command mends it: pure, from its text and facts about the machine."""

from __future__ import annotations

import os
import pwd
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stages.sandbox.user_namespace import IDS, subordinate

_FIRST_RANGE, _RANGE = 100000, 65536  # where useradd begins to give ids away, and how many it gives (SUB_UID_MIN)
FIRST_WITH_OWN_BINFMT = (6, 7)


@dataclass(frozen=True)
class HostFacts:
    """What diagnoses hang on; ``kernel`` is (major, minor)."""

    user: str = "user"
    uid: int = 1000
    kernel: tuple[int, int] = (6, 8)
    ranges: bool = True  # the user has subordinate ids
    free: int = _FIRST_RANGE  # the first id of a range of them that is nobody's
    newuidmap: bool = True
    apparmor_restricts: bool = False  # kernel.apparmor_restrict_unprivileged_userns (Ubuntu 23.10 and later)
    namespaces_off: bool = False  # user.max_user_namespaces or kernel.unprivileged_userns_clone is 0
    cgroup_version: int = 2
    has_runc: bool = True


@dataclass(frozen=True)
class Diagnosis:
    """One sentence on what is wrong, and the command that mends it ("" where there is none)."""

    explanation: str
    command: str = ""


def free_range(*texts: str) -> int:
    """The first id from which on there are 65536 that no line of these files (/etc/subuid, /etc/subgid) gives away."""
    fields = (line.split(":") for text in texts for line in text.splitlines())
    ranges = sorted(
        (int(each[1]), int(each[2])) for each in fields if len(each) == 3 and (each[1] + each[2]).isdecimal()
    )
    start = _FIRST_RANGE
    for first, count in ranges:
        if first < start + _RANGE and first + count > start:
            start = first + count
    return start


def add_ranges(facts: HostFacts) -> str:
    """The command that gives the user subordinate ids that nobody else has."""
    ids = f"{facts.free}-{facts.free + _RANGE - 1}"
    return f"sudo usermod --add-subuids {ids} --add-subgids {ids} {facts.user}"


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _number(path: str, default: int) -> int:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return default


def gather() -> HostFacts:
    """The facts of this machine and user."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    names = (user, str(os.getuid()))
    major, minor = (int(part) for part in re.findall(r"\d+", os.uname().release)[:2])
    return HostFacts(
        user=user,
        uid=os.getuid(),
        kernel=(major, minor),
        ranges=all(subordinate(f"/etc/sub{kind}", names)[1] >= IDS - 1 for kind in ("uid", "gid")),
        free=free_range(_text("/etc/subuid"), _text("/etc/subgid")),
        newuidmap=shutil.which("newuidmap") is not None,
        apparmor_restricts=_number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", 0) == 1,
        namespaces_off=0
        in (
            _number("/proc/sys/user/max_user_namespaces", 1),
            _number("/proc/sys/kernel/unprivileged_userns_clone", 1),
        ),
        cgroup_version=2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1,
        has_runc=shutil.which("runc") is not None,
    )


def _by_facts(text: str, facts: HostFacts) -> Diagnosis | None:
    """A permission was refused: which of the machine's settings does it?"""
    if not re.search(
        r"permission|not permitted|newuidmap|unshare|userns|user namespace|subuid|no range", text, re.IGNORECASE
    ):
        return None
    if facts.namespaces_off:
        return Diagnosis(
            "user namespaces are switched off on this machine",
            "sudo sysctl -w user.max_user_namespaces=15000 kernel.unprivileged_userns_clone=1",
        )
    if facts.uid == 0:
        return None
    if not facts.newuidmap:
        return Diagnosis("newuidmap and newgidmap are missing", "sudo apt-get install uidmap")
    if not facts.ranges:
        return Diagnosis(f"{facts.user} has no range of {IDS} subordinate ids", add_ranges(facts))
    if facts.apparmor_restricts:
        return Diagnosis(
            "AppArmor lets only programs with a profile open user namespaces; podman has one, this engine has not",
            "use --engine podman, or: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        )
    return None


# The first pattern that is found in the text (no case) speaks.
KNOWN: tuple[tuple[str, Callable[[HostFacts], Diagnosis]], ...] = (
    (
        r"podman: not found|podman is not there|no such file.*'podman'",
        lambda _: Diagnosis("podman is not installed", "sudo apt-get install podman uidmap"),
    ),
    (r"docker: not found", lambda _: Diagnosis("docker is not installed", "sudo apt-get install docker.io")),
    (
        r"no socket",
        lambda facts: Diagnosis(
            "there is no socket at $CONTAINER_HOST, $DOCKER_HOST or the usual places",
            "sudo systemctl start podman.socket" if facts.uid == 0 else "systemctl --user start podman.socket",
        ),
    ),
    (
        r"permission denied.*docker|docker.*permission denied|dial unix.*permission denied|PermissionError\(13",
        lambda facts: Diagnosis(
            f"{facts.user} may not use the docker daemon", f"sudo usermod -aG docker {facts.user}  # then log in again"
        ),
    ),
    (
        "connect to the docker daemon|docker daemon running|connection (refused|aborted)|fetching server api",
        lambda _: Diagnosis("the daemon is not running", "sudo systemctl start docker"),
    ),
    (
        r"newuidmap is not there|newgidmap is not there|exec.*newuidmap",
        lambda _: Diagnosis("newuidmap and newgidmap are missing", "sudo apt-get install uidmap"),
    ),
    (
        r"no range of|no subuid ranges|cannot find.*mappings for user|insufficient uids or gids|not enough ids",
        lambda facts: Diagnosis(f"{facts.user} has no range of {IDS} subordinate ids", add_ranges(facts)),
    ),
    (
        r"cgroups? in hybrid mode|crun.*cgroup",
        lambda facts: Diagnosis(
            f"crun cannot use this machine's control groups (version {facts.cgroup_version})",
            "" if facts.has_runc else "sudo apt-get install runc",
        ),
    ),
    (
        r"setting rlimit",
        lambda _: Diagnosis("podman's limits are above this user's, and may not be raised", "ulimit -n 1024"),
    ),
    (
        r"root of the (container|host)|root inside is root of the host",
        lambda _: Diagnosis("the container's root is the host's own: no build runs like this", "use --engine podman"),
    ),
    (
        r"slirp4netns|pasta",
        lambda _: Diagnosis("podman finds no network program", "sudo apt-get install slirp4netns passt"),
    ),
    (
        r"is not there.*mmdebstrap|needs tools|mmdebstrap is not there",
        lambda _: Diagnosis(
            "tools are missing",
            "sudo apt-get install --no-install-recommends mmdebstrap umoci uidmap libcap2-bin zstd "
            "python3-yaml python3-sh",
        ),
    ),
    (
        r"no space left|disk quota",
        lambda _: Diagnosis("the disk is full", "dib-ctr cache prune"),
    ),
    (
        r"binfmt_misc|interpreter",
        lambda facts: Diagnosis(
            "the kernel's binfmt_misc is one for all of the machine (before Linux 6.7)"
            if facts.kernel < FIRST_WITH_OWN_BINFMT
            else "binfmt_misc cannot be mounted in a user namespace",
            "sudo apt-get install qemu-user-static  # only for foreign architectures",
        ),
    ),
    (
        r"overlay|wrong fs type|fsconfig",
        lambda facts: Diagnosis(
            "overlay cannot be mounted in a user namespace (needs Linux 5.11 and a store on ext4, xfs or btrfs)"
            if facts.kernel < (5, 11)
            else "overlay cannot be mounted on the store: it needs extended attributes (ext4, xfs, btrfs have them)",
            "" if facts.kernel < (5, 11) else "DIB_CTR_STORE=/a/folder/on/ext4 (host), or move the engine's storage",
        ),
    ),
    (
        r"urlopen|name resolution|no mirror|timed out|HTTP Error|no such host",
        lambda _: Diagnosis(
            "the package mirror does not answer", "check the network and /etc/apt, or set DIB_CTR_DEBIAN_MIRROR"
        ),
    ),
)


def diagnose(text: str, facts: HostFacts) -> Diagnosis:
    """What the error text means on a machine with these facts."""
    for pattern, say in KNOWN:
        if re.search(pattern, text, re.IGNORECASE | re.DOTALL):
            return say(facts)
    diagnosis = _by_facts(text, facts)
    if diagnosis is not None:
        return diagnosis
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return Diagnosis(lines[-1] if lines else "no reason was given")
