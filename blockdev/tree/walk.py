"""The tree that goes into a file system: its entries in an order that no directory's own order decides.

Of the extended attributes those travel that mean the same on every machine: ``user.*`` (an overlay's own excepted),
file capabilities and POSIX access lists. What is there as a record (:mod:`blockdev.tree.recorded_status`) is what it
stands for: a device node, another owner, an attribute. Sockets stay behind. Folders take the image's time: their own
tells when a tool last worked in them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from blockdev.tree import recorded_status, selinux
from blockdev.tree.selinux import Labels

_ATTRIBUTES = ("security.capability", "system.posix_acl_access", "system.posix_acl_default")


@dataclass(frozen=True, slots=True)
class WalkEntry:
    """One thing: ``name`` is its path below the root, in bytes (the root's is empty), ``path`` where to read it.

    ``label`` is its SELinux label, where it has one.
    """

    name: bytes
    path: bytes
    status: os.stat_result
    label: bytes = b""

    @property
    def kind(self) -> int:
        """Its type as :mod:`stat` has it (``S_IFREG``, ...)."""
        return stat.S_IFMT(self.status.st_mode)

    @property
    def inode(self) -> tuple[int, int]:
        """What all names of one file have in common."""
        return self.status.st_dev, self.status.st_ino

    def mtime(self, epoch: int) -> int:
        """Its time in whole seconds, none later than ``epoch``."""
        if self.kind == stat.S_IFDIR:
            return epoch
        return min(self.status.st_mtime_ns // 1_000_000_000, epoch)

    def target(self) -> bytes:
        """Where a symbolic link leads."""
        return os.fsencode(Path(os.fsdecode(self.path)).readlink())

    def attributes(self) -> dict[str, bytes]:
        """The extended attributes that travel, sorted by name."""
        names = {name: recorded_status.true_name(name) for name in os.listxattr(self.path, follow_symlinks=False)}
        kept = sorted((true, name) for name, true in names.items() if true and (true != name or travels(name)))
        values = {true: os.getxattr(self.path, name, follow_symlinks=False) for true, name in kept}
        return {**values, selinux.ATTRIBUTE: self.label} if self.label else values

    def flags(self) -> int:
        """The flags (``FS_IMMUTABLE_FL``, ``FS_APPEND_FL``) that a script set on it, for a file system to have."""
        if self.kind not in (stat.S_IFREG, stat.S_IFDIR):
            return 0
        return recorded_status.flag_bits(recorded_status.read(self.path, recorded_status.FLAGS) or b"")


def travels(attribute: str) -> bool:
    """Does an extended attribute belong to the image and not to the machine that builds it."""
    user = attribute.startswith("user.") and not attribute.startswith("user.overlay.")
    return user or attribute in _ATTRIBUTES


def walk(source: Path, without: Collection[str] = (), labels: Labels | None = None) -> Iterator[WalkEntry]:
    """The root, then all below it: folders before what is in them, names in bytewise order; with their ``labels``.

    ``without`` names folders (paths below the root, ``boot/efi``) whose content belongs to another file system: they
    are there and empty.
    """
    empty = {os.fsencode(name.strip("/")) for name in without}
    root = os.fsencode(source)
    folders = [_entry(b"", root, recorded_status.true_status(root, os.lstat(root)), labels)]
    yield folders[0]
    while folders:
        folder = folders.pop()
        if folder.name in empty:
            continue
        prefix = folder.name + b"/" if folder.name else b""
        with os.scandir(folder.path) as entries:
            inside = sorted(entries, key=lambda item: item.name)
        below = []
        for item in inside:
            status = recorded_status.true_status(item.path, item.stat(follow_symlinks=False))
            entry = _entry(prefix + item.name, item.path, status, labels)
            if entry.kind == stat.S_IFSOCK:
                continue
            yield entry
            if entry.kind == stat.S_IFDIR:
                below.append(entry)
        folders += reversed(below)


def _entry(name: bytes, path: bytes, status: os.stat_result, labels: Labels | None) -> WalkEntry:
    return WalkEntry(name, path, status, labels.of(name, stat.S_IFMT(status.st_mode)) if labels else b"")


@dataclass(frozen=True)
class Statistics:
    """What a tree asks of a file system.

    ``sizes``: bytes of each regular file's content, a file with several names once; ``names``: how long each name is,
    in bytes; ``folders``, ``inodes`` and ``attributes`` are counts (of inodes with extended attributes).
    """

    sizes: tuple[int, ...] = ()
    names: tuple[int, ...] = ()
    folders: int = 1
    inodes: int = 1
    attributes: int = 0


def measure(source: Path | None, without: Collection[str] = ()) -> Statistics:
    """Statistics of a tree; of an empty one where there is none."""
    if source is None:
        return Statistics()
    sizes: list[int] = []
    names: list[int] = []
    seen: set[tuple[int, int]] = set()
    folders = attributes = 0
    for entry in walk(source, without):
        names.append(len(entry.name.rpartition(b"/")[2]))
        folders += entry.kind == stat.S_IFDIR
        if entry.inode in seen:
            continue
        seen.add(entry.inode)
        if entry.kind in (stat.S_IFREG, stat.S_IFLNK):
            sizes.append(entry.status.st_size)
        attributes += bool(entry.attributes())
    return Statistics(tuple(sizes), tuple(names[1:]), folders, len(seen), attributes)
