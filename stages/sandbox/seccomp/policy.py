"""Which answer a refused call gets. Pure: the calls are read and made elsewhere."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace

from blockdev.core.syscalls import (
    MNT_DETACH,
    MNT_FORCE,
    MS_BIND,
    MS_MOVE,
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_RELATIME,
    MS_REMOUNT,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
)
from blockdev.tree import recorded_status
from blockdev.tree.recorded_status import Node

_MS_PROPAGATION = MS_UNBINDABLE | MS_PRIVATE | MS_SLAVE | MS_SHARED
_MAGIC, _MAGIC_MASK = 0xC0ED0000, 0xFFFF0000
NOBODY = 0xFFFFFFFF  # (uid_t) -1: leave the owner as it is

_ON_BLOCKS = frozenset(
    (
        *("auto", "bcachefs", "btrfs", "cramfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "hfs", "hfsplus"),
        *("iso9660", "jfs", "minix", "msdos", "ntfs", "ntfs3", "reiserfs", "romfs", "squashfs", "udf", "vfat", "xfs"),
        "zfs",
    )
)
# statvfs(3)'s bits, and mount(2)'s for the same.
_KEPT = (
    (os.ST_RDONLY, MS_RDONLY),
    (os.ST_NOSUID, MS_NOSUID),
    (os.ST_NODEV, MS_NODEV),
    (os.ST_NOEXEC, MS_NOEXEC),
    (os.ST_NOATIME, MS_NOATIME),
    (os.ST_NODIRATIME, MS_NODIRATIME),
    (os.ST_RELATIME, MS_RELATIME),
)
# Devices that each sandbox has, by the name that they have everywhere.
USABLE = {
    "null": Node(stat.S_IFCHR, 1, 3),
    "zero": Node(stat.S_IFCHR, 1, 5),
    "full": Node(stat.S_IFCHR, 1, 7),
    "random": Node(stat.S_IFCHR, 1, 8),
    "urandom": Node(stat.S_IFCHR, 1, 9),
    "tty": Node(stat.S_IFCHR, 5, 0),
    "ptmx": Node(stat.S_IFCHR, 5, 2),
}


def device(mode: int, encoded: int) -> Node | None:
    """The device that mknod(2) is asked for; None for what the kernel makes itself (a whiteout is ``c 0 0``)."""
    kind = stat.S_IFMT(mode)
    encoded &= 0xFFFFFFFF
    if kind not in (stat.S_IFCHR, stat.S_IFBLK) or (kind == stat.S_IFCHR and encoded == 0):
        return None
    return Node(kind, (encoded & 0xFFF00) >> 8, (encoded & 0xFF) | ((encoded >> 12) & 0xFFF00))


@dataclass(frozen=True)
class MountCall:
    """What mount(2) is asked for, beside the target."""

    source: bytes
    kind: bytes
    flags: int
    options: bytes = b""


@dataclass(frozen=True)
class Attempt:
    """One way to make a mount: as a call, or (``show``) by showing a folder of the sandbox's own.

    ``keeping``: with the flags that the mount there has already. ``after``: with which errors the attempt before must
    have failed for this one to be made.
    """

    call: MountCall
    show: str = ""
    keeping: bool = False
    after: tuple[int, ...] = (errno.EPERM, errno.EACCES, errno.EINVAL)


def attempts(call: MountCall, *, own_network: bool, devices: bool) -> tuple[Attempt, ...]:
    """What to try, in order; none where the call is to go to the kernel as it is.

    ``own_network``: the caller's network namespace is another than the supervisor's, so that sysfs is its own to mount.
    ``devices``: the source is the sandbox's /dev, where nodes are mounts themselves, which a bind alone leaves out.
    """
    flags = call.flags & ~_MAGIC_MASK if call.flags & _MAGIC_MASK == _MAGIC else call.flags
    plain = MountCall(call.source, call.kind, flags, call.options)
    if flags & MS_REMOUNT:
        bound = MountCall(b"", b"", flags | MS_BIND)
        # mount(8) repeats what the kernel shows of the mount, and there owners are those of the host.
        without = [replace(plain, options=options) for options in fewer_options(call.options)[1:-1]]
        return (
            Attempt(plain),
            *(Attempt(call_without, after=(errno.EINVAL,)) for call_without in without),
            Attempt(bound, keeping=True, after=(errno.EPERM, errno.EACCES)),
        )
    if flags & MS_BIND:
        if flags & MS_REC:
            return ()
        whole = Attempt(MountCall(call.source, b"", flags | MS_REC))
        return (whole,) if devices else (Attempt(plain), whole)
    if flags & (MS_MOVE | _MS_PROPAGATION):
        return ()
    if call.kind == b"sysfs" and not own_network:
        return Attempt(plain), Attempt(plain, show="/sys")
    if call.kind == b"devtmpfs":
        return (Attempt(plain, show="/dev"),)
    if call.kind == b"devpts":
        return tuple(
            Attempt(MountCall(call.source, call.kind, flags, options)) for options in fewer_options(call.options)
        )
    return ()


def fewer_options(options: bytes) -> tuple[bytes, ...]:
    """Options as they are, then without owners, then none."""
    words = [word for word in options.split(b",") if word]
    without = b",".join(word for word in words if not word.startswith((b"gid=", b"uid=")))
    return tuple(dict.fromkeys((options, without, b"")))


def needs_privileges(call: MountCall) -> bool:
    """Is this a file system on a block device, which no user namespace may mount."""
    if call.flags & (MS_REMOUNT | MS_BIND | MS_MOVE | _MS_PROPAGATION):
        return False
    return call.kind.decode("ascii", "replace") in _ON_BLOCKS


def as_asked(attempt: Attempt, call: MountCall) -> bool:
    """Does an attempt give nothing but what was asked for."""
    return not attempt.show and attempt.call.flags & MS_REC == call.flags & MS_REC


def unmounting(flags: int, *, whole: bool) -> int:
    """The flags for umount2(2). ``whole``: mounts are below that were not asked for, so that they must go along."""
    return flags & ~MNT_FORCE | (MNT_DETACH if whole else 0)


def kept_flags(flag: int) -> int:
    """mount(2)'s flags for what statvfs(3) says (``f_flag``) of a mount."""
    return sum(ours for theirs, ours in _KEPT if flag & theirs)


@dataclass(frozen=True)
class Owners:
    """What a file's owners become: ``native`` those that it gets, ``record`` the attribute (empty: none needed)."""

    native: tuple[int, int]
    record: bytes


def owners(now: tuple[int, int], recorded: bytes, asked: tuple[int, int], ids: int) -> Owners:
    """The answer to chown(2) for a file that belongs to ``now``, with a record already or not (empty).

    Ids from ``ids`` on cannot be had: the last that can stands for them. It is nobody's in an image, where ids go to
    65534, so that a later chown(2) that the kernel grants makes the record void.
    """
    mark = ids - 1
    true = recorded_status.owner(recorded, *now)
    numbers = [was if number & NOBODY == NOBODY else number & NOBODY for number, was in zip(asked, true, strict=True)]
    native = [mark if number >= ids else number for number in numbers]
    kept = [number if number >= ids else None for number in numbers]
    record = b"" if kept == [None, None] else recorded_status.owner_value(kept[0], kept[1], (mark, mark))
    return Owners((native[0], native[1]), record)


def recorded_attribute(name: str) -> bool:
    """Is this extended attribute one that only a record can keep for the image."""
    return name.startswith("trusted.") or (name.startswith("security.") and name != "security.capability")


_NOTES = {
    "node": "made {} device node(s) as records, which the image's outputs turn into nodes",
    "shown": "showed {} of the sandbox's devices in a folder that a script changed its root to",
    "owner": "recorded {} owner(s) outside of the user namespace for the image's outputs",
    "owner-left": "left {} symbolic link(s) or special file(s) without an owner outside of the user namespace",
    "flags": "recorded {} immutable or append-only flag(s)",
    "attribute": "recorded {} trusted or security attribute(s) for the image's outputs",
    "mount": "changed {} mount(s) to what a user namespace may mount",
    "umount": "unmounted {} time(s) without the force that was asked for",
    "refused": "refused {} call(s) that need --privileged or a machine of their own",
}


def notes(counts: Mapping[str, int]) -> list[str]:
    """One line for each kind of answer that was not the kernel's own."""
    return [text.format(counts[kind]) for kind, text in _NOTES.items() if counts.get(kind)]
