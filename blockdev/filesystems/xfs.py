"""XFS, made and filled by mkfs.xfs from a prototype file (xfsprogs(8), option ``-p``), then set right by xfs_db.

mkfs.xfs knows no offset, so it writes a sparse file beside the image whose data then moves to its place. A prototype
holds contents, owners and plain modes; sticky bits, times and the random inode generations are written afterwards.

Limits, each refused with its path: hard links (a prototype has no word for them), extended attributes, and names with
white space in them. They take a kernel: the privileged assembly writes such trees. Holes are filled.
"""

from __future__ import annotations

import os
import stat
import struct
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from blockdev.filesystems.region import copy_in, data
from blockdev.filesystems.spec import Spec
from blockdev.filesystems.tools import Workplace
from blockdev.filesystems.tree import Entry, walk
from stages.errors import BuildError

_LETTERS = {
    stat.S_IFREG: b"-",
    stat.S_IFDIR: b"d",
    stat.S_IFLNK: b"l",
    stat.S_IFIFO: b"p",
    stat.S_IFCHR: b"c",
    stat.S_IFBLK: b"b",
}
_BIGTIME = 0x8
_CHUNK = 1 << 20
_NUMBER_AT, _UUID_AT = 152, 160
_GROUPS = 4  # mkfs.xfs takes the number from the host's disk and processors where it is not told


def write(spec: Spec, work: Workplace, source: Path | None, without: Collection[str]) -> int:
    """Make the file system and put it in its place; returns its size in bytes."""
    entries = list(walk(source, without)) if source else []
    refuse_impossible(entries)
    made = work.folder / "filesystem"
    size = work.region.length // 4096 * 4096
    with made.open("wb") as file:
        file.truncate(size)
    proto: list[str | Path] = []
    if entries:
        (work.folder / "prototype").write_bytes(prototype(entries, work.folder))
        proto = ["-p", work.folder / "prototype"]
    label = ["-L", spec.label] if spec.label else []
    groups = [] if any("agcount" in word or "agsize" in word for word in spec.options) else ["-d", f"agcount={_GROUPS}"]
    command = ["mkfs.xfs", "-q", "-f", "-K", "-m", f"uuid={spec.volume_id}", *label, *groups, *spec.options]
    work.run([*command, *proto, made])
    _set_right(work, made, entries, spec.epoch)
    copy_in(made, work.region)
    made.unlink()
    return size


def refuse_impossible(entries: Collection[Entry]) -> None:
    """BuildError for the first entry that a prototype cannot describe."""
    names = Counter(entry.inode for entry in entries if entry.kind != stat.S_IFDIR)
    for entry in entries:
        reason = _reason(entry, names[entry.inode])
        if reason:
            raise BuildError(
                f"an xfs file system written without the kernel cannot hold {reason}",
                where=repr(os.fsdecode(entry.path)),
                hint="choose ext4 or btrfs, or the privileged assembly",
            )


def _reason(entry: Entry, names: int) -> str:
    name = entry.name.rpartition(b"/")[2]
    if name and not _is_word(name):
        return f"a name like {os.fsdecode(name)!r}"
    if entry.kind == stat.S_IFLNK and not _is_word(entry.target()):
        return "a symbolic link to a name with white space in it"
    if names > 1:
        return "hard links"
    if attributes := entry.attributes():
        return f"extended attributes ({', '.join(attributes)})"
    return ""


def _is_word(text: bytes) -> bool:
    """Is it one token of a prototype, and one argument of xfs_db between quotes."""
    return text.split() == [text] and text != b"$" and not text.startswith(b":") and b'"' not in text


def prototype(entries: list[Entry], folder: Path) -> bytes:
    """The prototype of a tree; ``folder`` takes links to files whose own path has white space in it."""
    inside: dict[bytes, list[Entry]] = {}
    for entry in entries[1:]:
        inside.setdefault(entry.name.rpartition(b"/")[0], []).append(entry)
    lines = [b"-", b"0 0", _described(entries[0], folder, 0)]
    pending: list[Entry | None] = [None, *reversed(inside.get(b"", []))]
    while pending:
        entry_or_end = pending.pop()
        if entry_or_end is None:
            lines.append(b"$")
            continue
        name = entry_or_end.name
        lines.append(name.rpartition(b"/")[2] + b" " + _described(entry_or_end, folder, len(lines)))
        if entry_or_end.kind == stat.S_IFDIR:
            pending += [None, *reversed(inside.get(name, []))]
    return b"\n".join(lines) + b"\n"


def _described(entry: Entry, folder: Path, number: int) -> bytes:
    """What follows a name: type, mode, owners, and what there is inside."""
    status = entry.status
    special = (b"u" if status.st_mode & stat.S_ISUID else b"-") + (b"g" if status.st_mode & stat.S_ISGID else b"-")
    line = _LETTERS[entry.kind] + special + b"%03o %d %d" % (status.st_mode & 0o777, status.st_uid, status.st_gid)
    if entry.kind == stat.S_IFREG:
        path = entry.path
        if not _is_word(path):
            link = folder / f"source-{number}"
            link.symlink_to(os.fsdecode(path))
            path = os.fsencode(link)
        return line + b" " + path
    if entry.kind == stat.S_IFLNK:
        return line + b" " + entry.target()
    if entry.kind in (stat.S_IFCHR, stat.S_IFBLK):
        return line + b" %d %d" % (os.major(status.st_rdev), os.minor(status.st_rdev))
    return line


def _set_right(work: Workplace, made: Path, entries: list[Entry], epoch: int) -> None:
    """Sticky bits, times and generations: a command for each field."""
    with made.open("rb") as file:
        superblock = file.read(512)
    inodes = struct.unpack_from(">3Q", superblock, 56)  # the root's and the two of the realtime section
    (incompatible,) = struct.unpack_from(">I", superblock, 216)
    wide = bool(incompatible & _BIGTIME)
    commands: list[str | bytes] = []
    for inode in _free_inodes(made, superblock[32:48]):
        commands += [f"inode {inode}", "write core.gen 0"]
    for inode in inodes:
        commands += [f"inode {inode}", *_fields(epoch, epoch, wide)]
    for entry in entries:
        commands += [b"path /" + entry.name, *_fields(entry.mtime(epoch), epoch, wide)]
        if entry.status.st_mode & stat.S_ISVTX:
            commands.append(f"write core.mode 0{entry.status.st_mode:o}")
    script = work.folder / "fields"
    script.write_bytes(b"\n".join(os.fsencode(command) for command in commands) + b"\n")
    with script.open("rb") as lines:
        work.run(["xfs_db", "-x", made], stdin=lines)


def _free_inodes(made: Path, identity: bytes) -> Iterator[int]:
    """The numbers of inodes that are there but in no use; their generation is random, too.

    Every inode (version 3, xfs_dinode in the kernel's xfs_format.h) has the file system's UUID and its own number in
    it. Only pieces that hold data are read.
    """
    with made.open("rb") as file:
        for start, stop in data(file.fileno(), 0, made.stat().st_size):
            for place in range(start, stop, _CHUNK):
                piece = os.pread(file.fileno(), min(_CHUNK, stop - place), place)
                at = piece.find(identity)
                while at >= 0:
                    inode = at - _UUID_AT
                    if inode >= 0 and piece[inode : inode + 5] == b"IN\0\0\3":
                        yield int.from_bytes(piece[inode + _NUMBER_AT : inode + _NUMBER_AT + 8], "big")
                    at = piece.find(identity, at + 1)


def _fields(mtime: int, epoch: int, wide: bool) -> Iterator[str]:
    """Commands that set what mkfs.xfs takes from the clock and from chance."""
    yield "write core.gen 0"
    for field, seconds in (("core.mtime", mtime), ("core.atime", epoch), ("core.ctime", epoch), ("v3.crtime", epoch)):
        if wide:  # with the feature "bigtime" it is one number: nanoseconds since 1901, 2^31 seconds before 1970
            yield f"write {field}.sec {(seconds + (1 << 31)) * 1_000_000_000}"
        else:
            yield f"write {field}.sec {seconds}"
            yield f"write {field}.nsec 0"


def check(work: Workplace) -> None:
    """xfs_repair, changing nothing; it knows no offset, so it reads a copy that shares what it can."""
    work.run(["xfs_repair", "-n", "-f", work.extracted()])
