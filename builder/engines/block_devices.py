"""What the block-device stage may do where it needs devices and mounts, as podman and docker call it.

Its root is the machine's own, so it is given as little as that takes. Of the machine's devices the kernel lets it open
loop devices alone (the device cgroup), of the machine's folders it sees none but the store's volume.
"""

from __future__ import annotations

from builder.engines.protocol import Container

RIGHTS = (
    *("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETFCAP", "SYS_CHROOT"),
    "LINUX_IMMUTABLE",  # boot loaders keep their files from being moved
    "MKNOD",  # the device files of its loop devices
    "SETPCAP",  # to take rights from its scripts
    "SYS_ADMIN",  # to attach and mount
)
LOOPS = (
    "--device=/dev/loop-control",
    "--device-cgroup-rule=b 7:* rwm",
    "--security-opt=apparmor=unconfined",  # docker's own profile forbids mounts
)
# For encrypted containers and volume groups: the device mapper's numbers are not known before.
MAPPER = ("--device-cgroup-rule=c 10:* rwm", "--device-cgroup-rule=b *:* rwm", "-v", "/dev:/dev")


def options(container: Container) -> list[str]:
    """Options of ``run`` for a privileged container."""
    mapper = MAPPER if container.device_mapper else ()
    return ["--cap-drop=ALL", *(f"--cap-add={name}" for name in RIGHTS), *LOOPS, *mapper]
