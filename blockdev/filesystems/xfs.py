"""XFS, made and filled by mkfs.xfs from a prototype file (xfsprogs(8), option ``-p``), then set right by xfs_db.

mkfs.xfs knows no offset, so it writes a sparse file beside the image whose data then moves to its place. A prototype
holds contents, owners and plain modes. What it has no word for comes afterwards: hard links, extended attributes,
sticky bits, times and the inode generations by xfs_db, and names with white space by a word of the same hash in their
place (:mod:`blockdev.filesystems.xfs_names`).

Kept: owners, modes, times, symbolic and hard links, device nodes, and the extended attributes of
:mod:`blockdev.tree.walk`. Not kept: holes; with xfsprogs before 6.13 hard links become files of their own, and
a remark says so. Refused, with the path: attributes of some thousand bytes, and names that no word stands in for (of
one byte, such as a blank).
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from blockdev.core.errors import BuildError
from blockdev.filesystems import readonly
from blockdev.filesystems.region import copy_in, data
from blockdev.filesystems.spec import Spec
from blockdev.filesystems.tools import Workplace
from blockdev.filesystems.xfs_attributes import Attribute, attributes
from blockdev.filesystems.xfs_ondisk import Disk, Name
from blockdev.filesystems.xfs_prototype import Plan, plan, prototype
from blockdev.tree.walk import WalkEntry, walk

_BIGTIME = 0x8
_CHUNK = 1 << 20
_NUMBER_AT, _UUID_AT = 152, 160
_GROUPS = 4  # mkfs.xfs takes the number from the host's disk and processors where it is not told
_LINKS = (6, 13)  # the version whose xfs_db can make a name for an inode (some before may; these are known to)


def write(spec: Spec, work: Workplace, source: Path | None, without: Collection[str]) -> int:
    """Make the file system and put it in its place; returns its size in bytes."""
    entries = list(walk(source, without, work.labels)) if source else []
    planned = plan(entries, links=readonly.version(work, "mkfs.xfs", "-V") >= _LINKS)
    if planned.copies:
        noun = "file with several names is" if planned.copies == 1 else "files with several names are"
        work.remarks.append(
            f"xfs: {planned.copies} {noun} there once for each (xfsprogs before 6.13 makes no hard links)"
        )
    built = work.folder / "filesystem"
    with built.open("wb") as file:
        file.truncate(work.region.length // 4096 * 4096)
    proto: list[str | Path] = []
    if entries:
        (work.folder / "prototype").write_bytes(prototype(planned, work.folder))
        proto = ["-p", work.folder / "prototype"]
    label = ["-L", spec.label] if spec.label else []
    groups = [] if any("agcount" in word or "agsize" in word for word in spec.options) else ["-d", f"agcount={_GROUPS}"]
    command = ["mkfs.xfs", "-q", "-f", "-K", "-m", f"uuid={spec.volume_id}", *label, *groups, *spec.options]
    work.run([*command, *proto, built])
    _complete(work, built, planned, spec.epoch)
    size = built.stat().st_size
    copy_in(built, work.region)
    built.unlink()
    return size


def _complete(work: Workplace, built: Path, planned: Plan, epoch: int) -> None:
    """All that a prototype has no word for."""
    numbers: dict[bytes, int] = {}
    if planned.entries:
        firsts = [entry for entry in planned.entries if planned.first(entry) is entry]
        attributes_of = {entry.name: values for entry in firsts if (values := attributes(entry))}
        with Disk(built) as disk:
            numbers = _numbers(disk, _listed(disk, planned), firsts)
        _expert(work, built, [*_links(planned, numbers), *_rooms(attributes_of, numbers)], silent=True)
        with Disk(built) as disk:
            names = _listed(disk, planned)
            numbers = _numbers(disk, names, planned.entries)
            _values(disk, attributes_of, numbers)
            _odd(disk, planned, names)
    _set_right(work, built, planned, numbers, epoch)


def _listed(disk: Disk, planned: Plan) -> dict[bytes, Name]:
    """Where each path of the plan lies; what is not there (yet) is missing."""
    names: dict[bytes, Name] = {}
    real = {planned.word(entry): entry for entry in planned.entries}
    folders = [(b"", disk.root)]
    while folders:
        path, number = folders.pop()
        for name in disk.names(number):
            entry = real.get((path, name.text))
            if entry is None:
                continue
            names[entry.name] = name
            if entry.kind == stat.S_IFDIR:
                folders.append((entry.name, name.inode))
    return names


def _numbers(disk: Disk, names: Mapping[bytes, Name], entries: Collection[WalkEntry]) -> dict[bytes, int]:
    """The inode of each path; xfs_db tells only in words of what went wrong, so the entries must all be there."""
    numbers = {b"": disk.root, **{path: name.inode for path, name in names.items()}}
    for entry in entries:
        if entry.name not in numbers:
            raise BuildError(
                "xfsprogs did not write what it was told to",
                where=repr(os.fsdecode(entry.path)),
                hint="give the file system more room, or choose ext4 or btrfs",
            )
    return numbers


def _links(planned: Plan, numbers: Mapping[bytes, int]) -> Iterator[bytes]:
    for entry in planned.entries:
        first = planned.first(entry)
        if first is not entry:
            folder, word = planned.word(entry)
            yield b"inode %d" % numbers[folder]
            yield b"link -i %d -- %s" % (numbers[first.name], word)


def _rooms(attributes_of: Mapping[bytes, Collection[Attribute]], numbers: Mapping[bytes, int]) -> Iterator[bytes]:
    """Attributes with as many bytes as their values have; xfs_db cannot be told a value with a zero byte in it."""
    for path, attributes_here in attributes_of.items():
        yield b"inode %d" % numbers[path]
        for attribute in attributes_here:
            yield b"attr_set -%s -v %d %s" % (attribute.option, len(attribute.value), attribute.name)


def _values(disk: Disk, attributes_of: Mapping[bytes, Collection[Attribute]], numbers: Mapping[bytes, int]) -> None:
    for path, attributes_here in attributes_of.items():
        stored = disk.attributes(numbers[path])
        for attribute in attributes_here:
            there = stored.get((attribute.space, attribute.name))
            if there is None or there.length != len(attribute.value):
                raise BuildError(
                    f"an xfs file system written without the kernel cannot hold the extended attribute "
                    f"{os.fsdecode(attribute.name)!r} of {len(attribute.value)} bytes",
                    where=repr(os.fsdecode(b"/" + path)),
                    hint="choose ext4 or btrfs, or the privileged assembly",
                )
            disk.write(there.offset, attribute.value, there.inside)


def _odd(disk: Disk, planned: Plan, names: Mapping[bytes, Name]) -> None:
    """Put names and targets that are no words in the place of those that stand there for them."""
    for entry in planned.entries[1:]:
        name, text = names[entry.name], entry.name.rpartition(b"/")[2]
        if name.text != text:
            disk.write(name.offset, text, name.inside)
        if entry.kind == stat.S_IFLNK:
            disk.retarget(name.inode, entry.target())


def _expert(work: Workplace, built: Path, commands: list[bytes], *, silent: bool = False) -> None:
    """Let xfs_db run the commands; where they are ``silent``, words are errors."""
    if not commands:
        return
    script = work.folder / "commands"
    script.write_bytes(b"\n".join(commands) + b"\n")
    # Not by standard input: what reads that takes bytes of no character away.
    output = work.run(["xfs_db", "-x", "-c", "source commands", built])
    if silent and output.strip():
        raise work.failure("xfs_db", output)


def _set_right(work: Workplace, built: Path, planned: Plan, numbers: Mapping[bytes, int], epoch: int) -> None:
    """Sticky bits, times and generations: a command for each field."""
    with built.open("rb") as file:
        superblock = file.read(512)
    inodes = struct.unpack_from(">3Q", superblock, 56)  # the root's and the two of the realtime section
    (incompatible,) = struct.unpack_from(">I", superblock, 216)
    wide = bool(incompatible & _BIGTIME)
    commands: list[str | bytes] = []
    for inode in _free_inodes(built, superblock[32:48]):
        commands += [f"inode {inode}", "write core.gen 0"]
    for inode in inodes:
        commands += [f"inode {inode}", *_fields(epoch, epoch, wide)]
    for entry in planned.entries:
        if planned.first(entry) is not entry:
            continue
        commands += [f"inode {numbers[entry.name]}", *_fields(entry.mtime(epoch), epoch, wide)]
        if entry.status.st_mode & stat.S_ISVTX:
            commands.append(f"write core.mode 0{entry.status.st_mode:o}")
    _expert(work, built, [os.fsencode(command) for command in commands])


def _free_inodes(built: Path, identity: bytes) -> Iterator[int]:
    """The numbers of inodes that are there but in no use; their generation is random, too.

    Every inode (version 3, xfs_dinode in the kernel's xfs_format.h) has the file system's UUID and its own number in
    it. Only pieces that hold data are read.
    """
    with built.open("rb") as file:
        for start, stop in data(file.fileno(), 0, built.stat().st_size):
            for offset in range(start, stop, _CHUNK):
                piece = os.pread(file.fileno(), min(_CHUNK, stop - offset), offset)
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
