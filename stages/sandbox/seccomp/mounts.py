"""Mounts made and read in a caller's stead, where it stands."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from blockdev.core.syscalls import MS_RDONLY, attach_mount, copy_mount
from blockdev.tree import recorded_status
from stages.sandbox.seccomp import policy, syscalls
from stages.sandbox.seccomp.caller import Caller
from stages.sandbox.seccomp.policy import Attempt


def mount_id(descriptor: int) -> str:
    """The id of the mount that a descriptor is in."""
    for line in Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii").splitlines():
        if line.startswith("mnt_id:"):
            return line.split()[1]
    return ""


def shows_devices(caller: Caller, source: bytes) -> bool:
    """Is a folder that of the sandbox's devices, at whatever path it is seen."""
    devices: list[int] = []
    with contextlib.suppress(OSError), caller.standing(before=lambda: devices.append(os.stat("/dev").st_dev)):  # noqa: PTH116
        status = os.stat(source)  # noqa: PTH116
        return stat.S_ISDIR(status.st_mode) and status.st_dev in devices
    return False


def make(attempt: Attempt, caller: Caller, target: bytes) -> int:
    """Make a mount; a descriptor (O_PATH) of what is at the target then."""
    call = attempt.call
    trees: list[int] = []

    def clone() -> None:
        if attempt.show:
            read_only = bool(call.flags & MS_RDONLY)
            trees.append(copy_mount(attempt.show, recursive=True, read_only=read_only))

    try:
        with caller.standing(before=clone):
            flags = call.flags
            if attempt.keeping:
                flags |= policy.kept_flags(os.statvfs(target).f_flag)
            if trees:
                attach_mount(trees.pop(), os.fsdecode(target))
            else:
                syscalls.mount(call.source, target, call.kind, flags, call.options)
            return os.open(target, os.O_PATH | os.O_CLOEXEC)
    finally:
        for tree in trees:
            os.close(tree)


def show_devices(caller: Caller, root: bytes) -> int:
    """Before a chroot(2): where the new root has records of devices that the sandbox has, show these; how many.

    Not earlier: who made the record may first want to change its owner and mode, or to remove it.
    """
    opened: dict[str, int] = {}

    def clone() -> None:
        for name in names:
            with contextlib.suppress(OSError):
                opened[name] = copy_mount(f"/dev/{name}")

    with caller.standing():
        names = [name for name, node in policy.USABLE.items() if _is_record(_device(root, name), node.encoded())]
    if not names:
        return 0
    try:
        with caller.standing(before=clone):
            shown = len(opened)
            while opened:
                name, tree = opened.popitem()
                attach_mount(tree, os.fsdecode(_device(root, name)))
    finally:
        for tree in opened.values():
            os.close(tree)
    return shown


def _device(root: bytes, name: str) -> bytes:
    return root + b"/dev/" + name.encode()


def _is_record(path: bytes, value: bytes) -> bool:
    try:
        return recorded_status.read(path, recorded_status.NODE) == value
    except OSError:
        return False
