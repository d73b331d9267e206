"""A boot test as the last step of a build: the disk image that was just written is started and watched."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from blockdev.configuration import types
from blockdev.core.errors import UsageError
from blockdev.layout.model import DiskLayout
from builder.request.prepared_build import PreparedBuild
from stages.protocol.request import DISK_TYPES

# What QEMU reads as it is; an archive of a raw image it does not.
_READ_BY_QEMU = tuple(kind for kind in DISK_TYPES if not kind.startswith("raw."))


def image_of(prepared: PreparedBuild) -> Path:
    """The disk image among a request's outputs that a machine can be started from; UsageError where there is none."""
    for output, target in zip(prepared.request.outputs, prepared.targets, strict=True):
        if output.type in _READ_BY_QEMU:
            return target
    raise UsageError("--boot-test needs a disk image", hint=f"-o with one of {', '.join(_READ_BY_QEMU)}")


def firmware_for(disk: DiskLayout, arch: str) -> str:
    """Which firmware a disk is made for: ``both`` where it has what BIOS and UEFI look for."""
    if arch not in types.BIOS_ARCHITECTURES:
        return ""
    kinds = {slot.type for slot in disk.slots}
    uefi = types.ESP in kinds or "ef" in kinds
    bios = disk.table == "mbr" or types.BIOS_BOOT in kinds
    return "both" if bios and uefi else "uefi" if uefi else "bios"


def run(prepared: PreparedBuild, firmware: str | None, show: Callable[[str], None]) -> Iterable[str]:
    """Start the image; yields a sentence for each firmware that it came up with. Raises BuildError where it did not.

    ``firmware`` None: what its disk is made for.
    """
    from builder.host_state import probe_results
    from qemu.boot import Request, boot
    from stages.outputs.disk.job import layout_of

    request = prepared.request
    if firmware is None:
        firmware = firmware_for(layout_of(request).disks[0], request.arch)
    for success in boot(Request(image=image_of(prepared), arch=request.arch, firmware=firmware), show, probe_results):
        yield str(success)
