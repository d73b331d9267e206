"""File systems made by their own ``mkfs`` on a device, and mounted below one folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from blockdev.configuration.labels import EXT, FAT
from blockdev.core import syscalls, tools
from blockdev.core.errors import BuildError
from blockdev.layout.fstab import SWAP
from blockdev.layout.model import FileSystem, Layout

READ_ONLY = frozenset({"squashfs", "erofs"})  # written whole from a folder; there is nothing to mount and fill
# Types without a rootless writer that Linux has a mkfs for, and can mount.
BY_KERNEL = tuple("f2fs exfat ntfs jfs nilfs2 bcachefs reiserfs minix udf hfsplus ocfs2 gfs2".split())  # noqa: SIM905
_QUIET = EXT | {"xfs", "btrfs"}
_LABEL = {"f2fs": "-l", **dict.fromkeys(FAT, "-n")}
_UUID = EXT | {SWAP, "btrfs", "f2fs", "exfat"}
_KERNEL_NAME = {"fat": "vfat", "msdos": "vfat", "ntfs": "ntfs3"}
# A second file system with the same UUID may be mounted on this machine: that of the same image, being built twice.
_MOUNT_OPTIONS = {"xfs": "nouuid", "vfat": "quiet"}  # quiet: owners are lost, as FAT has none


def make_argv(system: FileSystem, device: str) -> list[str]:
    """The command that makes a file system, as diskimage-builder asks for it.

    It adds the UUID of the layout where the kind's mkfs takes one. Options for swap are not heeded, as there.
    """
    label = [_LABEL.get(system.kind, "-L"), system.label] if system.label else []
    if system.kind == SWAP:
        return ["mkswap", *label, *_identifier(system), device]
    quiet = ["-q"] if system.kind in _QUIET else []
    return ["mkfs", "-t", system.kind, *system.options, *quiet, *label, *_identifier(system), device]


def _identifier(system: FileSystem) -> list[str]:
    if not system.uuid:
        return []
    if system.kind == "xfs":
        return ["-m", f"uuid={system.uuid}"]
    if system.kind in FAT:
        return ["-i", system.uuid.replace("-", "")]
    return ["-U", system.uuid] if system.kind in _UUID else []


def mount_argv(system: FileSystem, device: str, target: Path) -> list[str]:
    """The command that mounts a file system."""
    kind = _KERNEL_NAME.get(system.kind, system.kind)
    options = ["-o", _MOUNT_OPTIONS[kind]] if kind in _MOUNT_OPTIONS else []
    return ["mount", "-t", kind, *options, device, str(target)]


def make(system: FileSystem, device: str) -> None:
    """Make a file system on a device. BuildError with what its program says where that fails."""
    if system.kind != SWAP:
        tools.find(f"mkfs.{system.kind}")  # `mkfs` itself says little of a missing one
    _run(make_argv(system, device), f"{system.kind} (mkfs node {system.name!r}) on {device}")


def mounted(layout: Layout) -> tuple[FileSystem, ...]:
    """The file systems that have a place in the tree, in the order of mounting."""
    return tuple(system for system in layout.file_systems if system.point.startswith("/"))


def mount_all(layout: Layout, devices: dict[str, str], root: Path, show: Callable[[str], None]) -> None:
    """Mount all that have a place in the tree below ``root``, each mount point made where it is not there.

    Subvolumes are made before anything is put into their file system. BuildError where one cannot be mounted.
    """
    for system in mounted(layout):
        target = root / system.point.lstrip("/")
        target.mkdir(parents=True, exist_ok=True)
        where = f"{system.kind} on {system.point} (mkfs node {system.name!r})"
        _run(mount_argv(system, devices[system.storage], target), where, "see whether the kernel has this file system")
        for volume in sorted(system.subvolumes, key=lambda subvolume: subvolume.path.count("/")):
            path = target / volume.path.strip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            _run(["btrfs", "subvolume", "create", str(path)], where)
        show(f"{system.kind} mounted on {system.point}")


def finish(layout: Layout, root: Path, show: Callable[[str], None]) -> None:
    """What is done to the mounted file systems when all is in them: subvolumes sealed, unused blocks discarded.

    A file system that cannot discard keeps its blocks: the image takes more room, and is whole.
    """
    for system in mounted(layout):
        target = root / system.point.lstrip("/")
        for volume in system.subvolumes:
            path = str(target / volume.path.strip("/"))
            if volume.kind == "ro":
                _run(["btrfs", "property", "set", "-ts", path, "ro", "true"], path)
            elif volume.kind == "default":
                _run(["btrfs", "subvolume", "set-default", path], path)
        syscalls.sync_file_system(target)
        done = tools.run(["fstrim", str(target)])
        if done.status and system.kind not in FAT:
            show(f"{system.kind} on {system.point}: unused blocks stay in the image ({_last(done)})")


def _last(done: tools.Done) -> str:
    lines = (done.err.strip() or done.out.strip()).decode(errors="replace").splitlines()
    useful = (line for line in lines if not line.lstrip().startswith("dmesg(1)"))
    return tools.last_line("\n".join(useful), "no reason given")


def _run(command: Sequence[str], where: str, hint: str = "") -> None:
    done = tools.run(command)
    if done.status:
        raise BuildError(f"{command[0]} failed: {_last(done)}", where=where, hint=hint)
