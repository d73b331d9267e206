"""What a build container may do: one list, which every engine gives, so that a build has the same answers everywhere.

All of it holds over the build's own user namespace alone, never over the host.
"""

from __future__ import annotations

# By their names in capabilities(7); the numbers are the kernel's and never change.
CAPABILITIES = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "DAC_READ_SEARCH": 2,
    "FOWNER": 3,
    "FSETID": 4,
    "KILL": 5,
    "SETGID": 6,
    "SETUID": 7,
    "SETPCAP": 8,
    "LINUX_IMMUTABLE": 9,  # chattr +i, of which a record is kept
    "NET_BIND_SERVICE": 10,
    "NET_ADMIN": 12,  # the loopback device of a stage without network; over the host's network it has no power
    "NET_RAW": 13,
    "SYS_CHROOT": 18,
    "SYS_PTRACE": 19,  # reads the arguments of the calls that are answered
    "SYS_ADMIN": 21,  # mounts and namespaces
    "MKNOD": 27,  # device nodes, of which a record is kept
    "AUDIT_WRITE": 29,
    "SETFCAP": 31,
}
# An ordinary user in a container needs no more than what newuidmap and newgidmap have as capabilities of their files.
MAPPING = ("SETUID", "SETGID")


def kept(*, mapped: bool) -> tuple[str, ...]:
    """Names of the capabilities to start a container with; all others are taken from it.

    ``mapped``: the container's root is no root of the host, and does the work itself.
    """
    return tuple(CAPABILITIES) if mapped else MAPPING


def options(*, mapped: bool) -> list[str]:
    """The same as options of ``podman run`` and ``docker run``."""
    return ["--cap-drop=ALL", *(f"--cap-add={name}" for name in kept(mapped=mapped))]
