"""What a boot that failed is called, and what to try next."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from blockdev.core.errors import BuildError
from qemu.console import Sign, Stage

SHOWN_LINES = 15


class End(Enum):
    """How a boot ends that no line on the console has decided."""

    TIMEOUT = "time is over"
    OFF = "switched off"
    DIED = "QEMU died"


@dataclass(frozen=True)
class Failure:
    """A boot that failed: why, after how many seconds, how far it came, and the last lines of the console.

    ``reason`` is what QEMU (or the SSH login) had to say about it, ``awaited`` what had not been seen yet.
    """

    why: Sign | End
    seconds: float
    stage: Stage
    lines: tuple[str, ...]
    firmware: str
    awaited: str = ""
    reason: str = ""
    emulated: bool = False


_CAME_TO = {
    Stage.NOTHING: "nothing came over the serial line",
    Stage.FIRMWARE: "it came no further than the firmware",
    Stage.LOADER: "it came no further than the boot loader",
    Stage.KERNEL: "the kernel started",
    Stage.SYSTEM: "the system started",
}
_WHAT = {
    Sign.PANIC: "the kernel panicked",
    Sign.INITRAMFS: "the initramfs did not find the root file system and opened a shell",
    Sign.EMERGENCY: "the system ended in emergency mode",
    Sign.GRUB_RESCUE: "GRUB did not find its own files (grub rescue)",
    Sign.GRUB_SHELL: "GRUB found no configuration and opened its shell",
    Sign.FIRMWARE_SHELL: "the firmware found nothing to start and opened its shell",
    Sign.RESTARTS: "the machine restarts again and again",
    End.OFF: "the machine switched itself off",
    End.DIED: "QEMU ended",
}
_HINTS = {
    Sign.PANIC: "the lines before it name the cause; `Unable to mount root fs` is a wrong root= or no initramfs",
    Sign.INITRAMFS: "compare root= on the kernel's command line with the disk's UUIDs and labels (blkid),"
    " and see whether the initramfs has the disk's driver (virtio_blk)",
    Sign.EMERGENCY: "a mount of /etc/fstab most likely failed: compare it with the disk's UUIDs and labels (blkid)",
    Sign.GRUB_RESCUE: "the prefix in GRUB's image names a partition or folder that is not there, or lacks its module",
    Sign.GRUB_SHELL: "see whether grub.cfg lies in the folder that GRUB's image has as its prefix",
    Sign.RESTARTS: "boot it with --interactive and watch what it says before it starts again",
    End.OFF: "boot it with --interactive, or see the last lines for what asked for it",
}
_NO_LOADER = {
    "bios": "see whether sector 0 has boot code, and GPT a BIOS boot partition; made for UEFI only? --firmware uefi",
    "uefi": "see whether there is an ESP with an EFI/BOOT/BOOT*.EFI for this architecture; made for BIOS only?"
    " --firmware bios",
    "slof": "see whether there is a PReP boot partition (type 41, or GPT's) with GRUB in it",
    "ccw": "see whether zipl has written its boot record",
}
_SILENT = "give the kernel's command line a console=, the serial one last (amd64: console=ttyS0)"
_NO_SSH = "see whether the machine takes its address by DHCP and has sshd enabled; a seed needs cloud-init"


def explain(failure: Failure) -> BuildError:
    """The error that a person reads."""
    after = f"after {failure.seconds:.0f} s"
    if failure.why is End.TIMEOUT:
        what = f"{failure.awaited} did not come within {failure.seconds:.0f} s: {_CAME_TO[failure.stage]}"
    elif failure.why is Sign.NO_LOADER:
        what = f"the firmware ({failure.firmware}) found nothing to boot on the disk"
    else:
        what = f"{_WHAT[failure.why]} {after}"
    if failure.reason:
        what += f": {failure.reason}"
    lines = failure.lines[-SHOWN_LINES:]
    shown = "".join(f"\n  | {line}" for line in lines) or "\n  | (nothing)"
    return BuildError(f"{what}\n  the last lines of the console:{shown}", hint=_hint(failure))


def _hint(failure: Failure) -> str:
    if failure.why in (Sign.NO_LOADER, Sign.FIRMWARE_SHELL):
        return _NO_LOADER.get(failure.firmware, "see whether the kernel is one for this architecture")
    if failure.why is End.DIED:
        return "see what QEMU said; is the image in use elsewhere, is there enough memory for --memory"
    if failure.why is not End.TIMEOUT:
        return _HINTS[failure.why]
    silent = failure.stage in (Stage.NOTHING, Stage.FIRMWARE, Stage.LOADER)
    if "SSH" in failure.awaited:
        return f"{_NO_SSH}; to see more, {_SILENT}" if silent else _NO_SSH
    if silent:
        return f"it hangs, or it speaks elsewhere: {_SILENT}"
    slow = "; without KVM a boot takes ten times as long" if failure.emulated else ""
    return f"give it more time with --timeout{slow}; or is another --expect meant, is a getty on the serial line"
