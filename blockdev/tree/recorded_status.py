"""What a tree says of a file beyond what a user namespace lets it be: attributes whose names begin with user.dib-ctr.

The one place that knows these names. A record is a regular file (or a folder, for flags and attributes) that carries:

* ``user.dib-ctr.node``: ``c 1 3`` or ``b 8 0``; it stands for that device node;
* ``user.dib-ctr.owner``: ``UID GID MARK MARK``: what it belongs to, where it still belongs to the marks. A number
  that is ``-`` was not asked for;
* ``user.dib-ctr.flags``: ``a`` and ``i``, as chattr(1) has them;
* ``user.dib-ctr.xattr.NAME``: the extended attribute NAME.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass

PREFIX = "user.dib-ctr."
NODE = PREFIX + "node"
OWNER = PREFIX + "owner"
FLAGS = PREFIX + "flags"
ATTRIBUTE = PREFIX + "xattr."
IMMUTABLE, APPEND = 0x10, 0x20  # FS_IMMUTABLE_FL, FS_APPEND_FL

_LETTERS = {"c": stat.S_IFCHR, "b": stat.S_IFBLK}
_NO_RECORD = (errno.ENODATA, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES)


@dataclass(frozen=True)
class Node:
    """A device: ``kind`` is S_IFCHR or S_IFBLK."""

    kind: int
    major: int
    minor: int

    def encoded(self) -> bytes:
        """As the attribute's value."""
        return f"{'c' if self.kind == stat.S_IFCHR else 'b'} {self.major} {self.minor}".encode()


def node(value: bytes) -> Node | None:
    """The device that a value names; None for what is no such value."""
    words = value.decode("ascii", "replace").split()
    if len(words) != 3 or words[0] not in _LETTERS or not (words[1].isdigit() and words[2].isdigit()):
        return None
    return Node(_LETTERS[words[0]], int(words[1]), int(words[2]))


def owner_value(uid: int | None, gid: int | None, marks: tuple[int, int]) -> bytes:
    """The value for an owner, a group or both; None: that one is as the file says."""
    return f"{'-' if uid is None else uid} {'-' if gid is None else gid} {marks[0]} {marks[1]}".encode()


def owner(value: bytes, uid: int, gid: int) -> tuple[int, int]:
    """Whom a file that belongs to ``uid`` and ``gid`` belongs to by its record; a later owner of its own wins."""
    words = value.decode("ascii", "replace").split()
    if len(words) != 4:
        return uid, gid
    ids = []
    for own, recorded, mark in zip((uid, gid), words[:2], words[2:], strict=True):
        ids.append(int(recorded) if recorded.isdigit() and mark == str(own) else own)
    return ids[0], ids[1]


def flag_letters(bits: int) -> bytes:
    """The letters of the flags that are recorded, out of ``FS_IOC_SETFLAGS``' bits."""
    return (b"a" if bits & APPEND else b"") + (b"i" if bits & IMMUTABLE else b"")


def flag_bits(value: bytes) -> int:
    """The other way round."""
    return (APPEND if b"a" in value else 0) | (IMMUTABLE if b"i" in value else 0)


def read(path: bytes | str, name: str) -> bytes | None:
    """One attribute of a file; None where it, or any of its kind, is not there."""
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_RECORD:
            return None
        raise


def true_status(path: bytes, status: os.stat_result) -> os.stat_result:
    """What lstat(2) would have said, had the kernel made what was asked of it."""
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return status
    if not any(name.startswith(PREFIX) for name in os.listxattr(path, follow_symlinks=False)):
        return status
    node_value = read(path, NODE) if stat.S_ISREG(status.st_mode) else None
    return restored(status, node_value, read(path, OWNER))


def restored(status: os.stat_result, node_value: bytes | None, owner_value: bytes | None) -> os.stat_result:
    """The status that results from the values of two attributes."""
    device = node(node_value) if node_value is not None else None
    if device is None and owner_value is None:
        return status
    mode, rdev, size = status.st_mode, status.st_rdev, status.st_size
    if device is not None:
        mode = device.kind | stat.S_IMODE(mode)
        rdev = os.makedev(device.major, device.minor)
        size = 0
    uid, gid = owner(owner_value or b"", status.st_uid, status.st_gid)
    times = (int(status.st_atime), int(status.st_mtime), int(status.st_ctime))
    plain = (mode, status.st_ino, status.st_dev, status.st_nlink, uid, gid, size, *times)
    exact = {
        "st_atime_ns": status.st_atime_ns,
        "st_mtime_ns": status.st_mtime_ns,
        "st_ctime_ns": status.st_ctime_ns,
        "st_rdev": rdev,
    }
    return os.stat_result(plain, exact)


def true_name(attribute: str) -> str:
    """The name under which an attribute is to be exported; empty for one that is not."""
    if attribute.startswith(ATTRIBUTE):
        return attribute[len(ATTRIBUTE) :]
    return "" if attribute.startswith(PREFIX) else attribute
