"""Volume groups and encrypted containers through LVM's and cryptsetup's own programs.

They need the kernel's device mapper. Each command looks at the devices given and at no others, so that groups of the
machine with the same names stay as they are; no udev is waited for, as a container has none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from blockdev.core import tools
from blockdev.core.errors import BuildError
from blockdev.layout.model import GroupPlan, LogicalPlan, LuksPlan

_ROUND = 4 << 20  # bytes; diskimage-builder rounds sizes down to LVM's default extents
THIN, THIN_POOL = "thin", "thin-pool"


def has_device_mapper() -> bool:
    """Has this kernel the device mapper, now (misc devices are listed in /proc/misc)."""
    try:
        return any(line.split()[1:] == ["device-mapper"] for line in Path("/proc/misc").read_text().splitlines())
    except OSError:
        return False


def require_device_mapper(what: str) -> None:
    """BuildError where the kernel has no device mapper; ``what`` needs it."""
    if not has_device_mapper():
        raise BuildError(
            f"{what} needs the device mapper, which this machine's kernel does not have",
            hint="load its module (`modprobe dm-mod`) on the machine, or build on another one",
        )


def only(devices: Sequence[str]) -> list[str]:
    """The options that keep an LVM program to these devices."""
    accepted = ", ".join(f'"a|^{re.escape(device)}$|"' for device in devices)
    sections = (
        f'devices {{ filter = [ {accepted}, "r|.*|" ] global_filter = [ "a|.*|" ] use_devicesfile = 0',
        'obtain_device_list_from_udev = 0 external_device_info_source = "none" scan = [ "/dev" ] }',
        "activation { udev_sync = 0 udev_rules = 0 monitoring = 0 }",
        "backup { backup = 0 archive = 0 } global { event_activation = 0 }",
    )
    return ["--config", " ".join(sections)]


def create_group_argv(group: GroupPlan, devices: Sequence[str]) -> list[str]:
    """The command that makes a group; the physical volumes are made by it, and the options are for both."""
    return ["vgcreate", "--yes", *only(devices), *group.options, group.name, *devices]


def create_volume_argv(group: str, volume: LogicalPlan, devices: Sequence[str]) -> list[str]:
    """The command that makes a logical volume, as diskimage-builder asks for it (a size wins over extents)."""
    kind = ["--type", volume.type] if volume.type else []
    pool = ["--thinpool", volume.thin_pool] if volume.thin_pool else []
    if volume.size is not None:
        rounded = max(volume.size // _ROUND, 1) * _ROUND
        room = ["--virtualsize" if volume.type == THIN else "--size", f"{rounded}b"]
    else:
        room = ["--extents", volume.extents]
    wipe = [] if volume.type in {THIN, THIN_POOL} else ["--zero", "y", "--wipesignatures", "y"]
    return [
        "lvcreate",
        "--yes",
        *only(devices),
        *kind,
        *pool,
        *room,
        *wipe,
        *volume.options,
        "--name",
        volume.name,
        group,
    ]


def deactivate_argv(group: str, devices: Sequence[str]) -> list[str]:
    """The command that takes a group's volumes out of the kernel."""
    return ["vgchange", *only(devices), "--activate", "n", group]


def in_order(volumes: Sequence[LogicalPlan]) -> tuple[LogicalPlan, ...]:
    """The volumes in the order in which they are made: as listed, thin ones after the pools that they lie in."""
    return (
        *(volume for volume in volumes if volume.type != THIN),
        *(volume for volume in volumes if volume.type == THIN),
    )


def encrypt_argv(container: LuksPlan, device: str) -> list[str]:
    """The command that makes an encrypted container; it reads the passphrase from its standard input."""
    label = ["--label", container.label] if container.label else []
    return [
        "cryptsetup",
        "luksFormat",
        "--batch-mode",
        "--type",
        "luks2",
        "--cipher",
        container.cipher,
        "--pbkdf",
        container.pbkdf,
        "--uuid",
        container.uuid,
        *label,
        "--key-file",
        "-",
        device,
    ]


def open_argv(device: str, name: str) -> list[str]:
    """The command that opens a container; it reads the passphrase from its standard input."""
    return ["cryptsetup", "open", "--type", "luks2", "--key-file", "-", device, name]


def close_argv(name: str) -> list[str]:
    """The command that closes a container."""
    return ["cryptsetup", "close", name]


def verity_argv(data: str, hashes: str, salt: str, uuid: str) -> list[str]:
    """The command that writes a hash tree; it needs no device mapper."""
    return ["veritysetup", "format", "--hash", "sha256", "--salt", salt, "--uuid", uuid, data, hashes]


def run(command: Sequence[str], where: str, stdin: bytes = b"") -> str:
    """Run such a command and return what it printed; BuildError with its last line where it fails."""
    done = tools.run(command, data=stdin)
    if done.status:
        raise BuildError(f"{command[0]} failed: {tools.last_line(done.err or done.out)}", where=where)
    return done.out.decode(errors="replace")
