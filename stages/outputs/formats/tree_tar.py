"""A tree, or one overlay upper directory, as a tar archive that depends on nothing but the files themselves.

Members are sorted by path, bytewise; owners are numbers; times later than ``epoch`` and those of folders become
``epoch``; access and change times and sockets are left out, and of devices all but those that a script made and that
are there as records (:mod:`blockdev.tree.recorded_status`). Of the extended attributes those travel that
mean the same on every machine: ``user.*`` (the overlay's own excepted), file capabilities and POSIX access lists, and
those that a script set and that are there as records. Labels that are the building host's own stay behind.

Run it as root of the user namespace that owns the tree: then owners, capabilities and access lists come out as that
namespace sees them, which is how an image has them.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from blockdev.core import holes
from blockdev.core.errors import BuildError
from blockdev.tree import recorded_status, selinux
from blockdev.tree.selinux import Labels
from stages.layers.digest_list import ACCESS_LISTS, CAPABILITY, OVERLAY
from stages.outputs.formats import tar_stream
from stages.outputs.formats.tar_stream import BlockSink, Member, TarStream, Written
from stages.outputs.slim.changes import NOTHING, Finish
from stages.outputs.slim.patterns import Selection

WHITEOUT = b".wh."
SPARSE = 16 << 20  # bytes of zeros, in whole pieces, from which on a file is stored as a sparse one
OPAQUE = b".wh..wh..opq"

_OPAQUE = OVERLAY + "opaque"
_XATTR_WHITEOUT = OVERLAY + "whiteout"
_KINDS = {
    stat.S_IFREG: tar_stream.FILE,
    stat.S_IFLNK: tar_stream.SYMLINK,
    stat.S_IFIFO: tar_stream.FIFO,
    stat.S_IFCHR: tar_stream.CHARACTER_DEVICE,
    stat.S_IFBLK: tar_stream.BLOCK_DEVICE,
}
_DEVICES = (stat.S_IFCHR, stat.S_IFBLK)
_REVISION_3 = 0x03000000
_REVISION_2 = 0x02000000
_REVISION_MASK = 0xFF000000


@dataclass(frozen=True, slots=True)
class _Entry:
    """One thing found: where it is, its name in the archive, what lstat says, and what it holds instead of its own."""

    path: bytes
    name: bytes
    status: os.stat_result
    content: bytes | None = None


def _walk(root: bytes, selection: Selection) -> list[_Entry]:
    """The root (named ``b""``) and what is selected below it, in bytewise order of the names.

    A folder that is left out, but has something in it that is not, is there.
    """
    entries = [_Entry(root, b"", os.lstat(root))]
    folders = [entries[0]]
    left_out: dict[bytes, _Entry] = {}
    while folders:
        folder = folders.pop()
        prefix = folder.name + b"/" if folder.name else b""
        with os.scandir(folder.path) as inside:
            for item in inside:
                entry = _Entry(item.path, prefix + item.name, item.stat(follow_symlinks=False))
                is_folder = stat.S_ISDIR(entry.status.st_mode)
                if selection.drops(entry.name, entry.status.st_mode) and not _stays_hidden(entry, selection):
                    if is_folder and selection.leads_to_kept(entry.name):
                        left_out[entry.name] = entry
                        folders.append(entry)
                    continue
                entries.append(entry)
                _take_back(entry.name, left_out, entries)
                if is_folder:
                    folders.append(entry)
    entries.sort(key=lambda entry: entry.name)
    return entries


def _take_back(name: bytes, left_out: dict[bytes, _Entry], entries: list[_Entry]) -> None:
    """The folders on the way to something that is kept are kept."""
    while left_out and name:
        name = name.rpartition(b"/")[0]
        folder = left_out.pop(name, None)
        if folder:
            entries.append(folder)


def _stays_hidden(entry: _Entry, selection: Selection) -> bool:
    """Does this whiteout of one layer hide something of a lower one that would else be kept."""
    return stat.S_ISCHR(entry.status.st_mode) and selection.leads_to_kept(entry.name)


def plain_capability(value: bytes) -> bytes:
    """A file capability as a registry image has it: revision 2, without the owning namespace's root id."""
    if len(value) != 24:
        return value
    (magic,) = struct.unpack_from("<I", value)
    if magic & _REVISION_MASK != _REVISION_3:
        return value
    return bytes(struct.pack("<I", (magic & ~_REVISION_MASK) | _REVISION_2) + value[4:20])


def _travels(name: str) -> bool:
    if name.startswith(OVERLAY) or "=" in name:  # a PAX keyword ends at its first "="
        return False
    return name.startswith("user.") or name == CAPABILITY or name in ACCESS_LISTS


def _xattrs(path: bytes, names: list[str]) -> dict[str, bytes]:
    pairs = ((name, recorded_status.true_name(name)) for name in names)
    values = {
        true: os.getxattr(path, name, follow_symlinks=False)
        for name, true in pairs
        if true and (_travels(true) or true != name) and "=" not in true
    }
    if CAPABILITY in values:
        values[CAPABILITY] = plain_capability(values[CAPABILITY])
    return values


class _Writer:
    """Puts entries into a tar stream; remembers the first name of every inode that has several."""

    def __init__(
        self,
        out: BinaryIO | BlockSink,
        epoch: int,
        prefix: str = "",
        labels: Labels | None = None,
        *,
        sparse: bool = False,
    ) -> None:
        self.sparse = sparse
        self.stream = TarStream(out)
        self.epoch = epoch
        self.prefix = os.fsencode(prefix)
        self.labels = labels
        self._names: dict[tuple[int, int], bytes] = {}

    def put(self, entry: _Entry, attributes: list[str]) -> None:
        """Add one entry; ``attributes`` are the names of its extended attributes."""
        device = (0, 0)
        if any(attribute.startswith(recorded_status.PREFIX) for attribute in attributes):
            entry = replace(entry, status=recorded_status.true_status(entry.path, entry.status))
            device = os.major(entry.status.st_rdev), os.minor(entry.status.st_rdev)
        kind, name, target, size = self._kind(entry, recorded=device != (0, 0))
        if not kind:
            return
        if entry.content is not None:
            self._put_content(entry, attributes)
            return
        if self.prefix:
            name = self._placed(name)
            target = self._placed(target) if kind == tar_stream.HARD_LINK else target
        status = entry.status
        xattrs: dict[str, bytes] = {}
        if kind != tar_stream.HARD_LINK:
            xattrs = {**(_xattrs(entry.path, attributes) if attributes else {}), **self._label(entry)}
        # The time of a folder tells when a tool last touched it, in whatever order it worked: nothing about the image.
        is_folder = kind == tar_stream.DIRECTORY
        mtime = self.epoch if is_folder else min(status.st_mtime_ns // 1_000_000_000, self.epoch)
        mode = stat.S_IMODE(status.st_mode)
        member = Member(name, kind, mode, status.st_uid, status.st_gid, mtime, size, target, xattrs, device)
        parts = _parts(entry.path, size) if self.sparse and size >= SPARSE else None
        if parts is not None:
            self.stream.add_sparse(member, entry.path, parts)
        elif size:
            self.stream.add_file(member, entry.path)
        else:
            self.stream.add(member)

    def _put_content(self, entry: _Entry, attributes: list[str]) -> None:
        """A file with another content than the tree's own; its date is the image's."""
        assert entry.content is not None
        xattrs = {**(_xattrs(entry.path, attributes) if attributes else {}), **self._label(entry)}
        mode, uid, gid = stat.S_IMODE(entry.status.st_mode), entry.status.st_uid, entry.status.st_gid
        size = len(entry.content)
        name = self._placed(entry.name) if self.prefix else entry.name
        self.stream.add(Member(name, tar_stream.FILE, mode, uid, gid, self.epoch, size, b"", xattrs), entry.content)

    def _label(self, entry: _Entry) -> dict[str, bytes]:
        label = self.labels.of(entry.name, stat.S_IFMT(entry.status.st_mode)) if self.labels else b""
        return {selinux.ATTRIBUTE: label} if label else {}

    def _placed(self, name: bytes) -> bytes:
        return self.prefix + b"/" + (b"" if name == b"./" else name)

    def _kind(self, entry: _Entry, *, recorded: bool) -> tuple[bytes, bytes, bytes, int]:
        """Kind (empty: left out), name, link target and size of an entry."""
        mode, status = entry.status.st_mode, entry.status
        if stat.S_ISDIR(mode):
            return tar_stream.DIRECTORY, (entry.name or b".") + b"/", b"", 0
        kind = stat.S_IFMT(mode)
        if kind not in _KINDS or (kind in _DEVICES and not recorded):
            return b"", b"", b"", 0
        if status.st_nlink > 1 and entry.content is None:
            first = self._names.setdefault((status.st_dev, status.st_ino), entry.name)
            if first != entry.name:
                return tar_stream.HARD_LINK, entry.name, first, 0
        target = os.readlink(entry.path) if kind == stat.S_IFLNK else b""  # noqa: PTH115 (bytes)
        return _KINDS[kind], entry.name, target, status.st_size if kind == stat.S_IFREG else 0

    def mark(self, name: bytes) -> None:
        """Add a whiteout or an opaque mark: an empty file."""
        self.stream.add(Member(name, tar_stream.FILE, 0o644, mtime=self.epoch))


def _parts(path: bytes, size: int) -> list[tuple[int, int]] | None:
    """What of a file is no zeros; None for one that has too few of them for another format."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        extents = holes.extents(fd, size)
    finally:
        os.close(fd)
    return extents if size - sum(length for _, length in extents) >= SPARSE else None


def _listxattr(path: bytes) -> list[str]:
    return os.listxattr(path, follow_symlinks=False)


def _refuse_reserved(entry: _Entry) -> None:
    if entry.name.rpartition(b"/")[2].startswith(WHITEOUT):
        raise BuildError(
            "a file name that begins with .wh. means a removed file in an image layer, so it cannot be in one",
            where="/" + os.fsdecode(entry.name),
            hint="remove the file in a cleanup.d script, or choose the output tar",
        )


_NEW_FILE = os.stat_result((stat.S_IFREG | 0o644, 0, 0, 1, 0, 0, 0, 0, 0, 0))
_NEW_FOLDER = os.stat_result((stat.S_IFDIR | 0o755, 0, 0, 1, 0, 0, 0, 0, 0, 0))


def _written(root: bytes, contents: Mapping[bytes, bytes]) -> Iterator[_Entry]:
    """The files that an output has another content for, and all folders on the way to them."""
    folders = {parent for name in contents for parent in _parents(name)}
    for name in folders | contents.keys():
        path = os.path.join(root, name)  # noqa: PTH118 (bytes)
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            path, status = b"", _NEW_FOLDER if name in folders else _NEW_FILE
        yield _Entry(path, name, status, contents.get(name))


def _parents(name: bytes) -> Iterator[bytes]:
    while b"/" in name:
        name = name.rpartition(b"/")[0]
        yield name


def write_tree(
    root: Path,
    out: BinaryIO | BlockSink,
    *,
    epoch: int,
    layer: bool = False,
    finish: Finish = NOTHING,
    prefix: str = "",
    sparse: bool = False,
) -> Written:
    """Archive the tree ``root``, beginning with ``./`` itself, as ``finish`` would have it; below ``prefix/`` if given.

    ``sparse``: files with much of nothing in them are stored without that (GNU's sparse format), which layers of images
    cannot have.

    ``epoch`` is SOURCE_DATE_EPOCH in seconds. Hard links: the first name in order is the file. ``layer`` says that the
    archive is to be an image layer, where names beginning with ``.wh.`` cannot be (BuildError). ``out`` stays open.
    """
    writer = _Writer(out, epoch, prefix, finish.labels, sparse=sparse)
    entries = {entry.name: entry for entry in _walk(os.fsencode(root), finish.selection)}
    entries.update((entry.name, entry) for entry in _written(os.fsencode(root), finish.contents))
    for entry in sorted(entries.values(), key=lambda entry: entry.name) if finish.contents else entries.values():
        if layer:
            _refuse_reserved(entry)
        writer.put(entry, _listxattr(entry.path) if entry.path else [])
    return writer.stream.close()


def write_contents(root: Path, out: BinaryIO | BlockSink, *, epoch: int, finish: Finish) -> Written:
    """Only the files that ``finish`` has another content for, as the topmost layer of the tree ``root``."""
    writer = _Writer(out, epoch, labels=finish.labels)
    for entry in sorted(_written(os.fsencode(root), finish.contents), key=lambda entry: entry.name):
        writer.put(entry, _listxattr(entry.path) if entry.path else [])
    return writer.stream.close()


def _hidden(entry: _Entry, attributes: list[str]) -> bool:
    """Is this a whiteout: a 0:0 character device, or an empty file that carries the attribute."""
    mode = entry.status.st_mode
    if stat.S_ISCHR(mode):
        return entry.status.st_rdev == 0
    return stat.S_ISREG(mode) and entry.status.st_size == 0 and _XATTR_WHITEOUT in attributes


def _change_name(entry: _Entry, attributes: list[str]) -> bytes:
    """The name of a whiteout's marker in the changeset; empty for an entry that is no whiteout."""
    if not _hidden(entry, attributes):
        _refuse_reserved(entry)
        return b""
    folder, slash, name = entry.name.rpartition(b"/")
    return folder + slash + WHITEOUT + name


def write_changes(layer_tree: Path, out: BinaryIO | BlockSink, *, epoch: int, finish: Finish = NOTHING) -> Written:
    """One overlay upper directory (mounted with ``userxattr``) as a layer changeset of the OCI image specification.

    A whiteout becomes ``.wh.NAME``; the opaque mark ``.wh..wh..opq`` follows its directory at once, before anything in
    it. user.overlay.opaque is ``y`` for an opaque directory; ``x`` only announces whiteouts in the form of
    attributes and hides nothing by itself (kernel documentation, filesystems/overlayfs). Directories on the way to a
    change are in the upper directory with their full attributes, so they are in the changeset too. Redirects and
    metadata-only copies must have been off when the upper directory was written. What ``selection`` leaves out is left
    out of every layer, so none needs to hide it. ``out`` stays open.
    """
    writer = _Writer(out, epoch, labels=finish.labels)
    changes = []
    for entry in _walk(os.fsencode(layer_tree), finish.selection):
        attributes = _listxattr(entry.path)
        whiteout = _change_name(entry, attributes)
        changes.append((whiteout or entry.name, whiteout, entry, attributes))
    changes.sort(key=lambda change: change[0])
    for name, whiteout, entry, attributes in changes:
        if whiteout:
            writer.mark(whiteout)
            continue
        writer.put(entry, attributes)
        if _OPAQUE in attributes and os.getxattr(entry.path, _OPAQUE, follow_symlinks=False) == b"y":
            writer.mark(name + b"/" + OPAQUE if name else OPAQUE)
    return writer.stream.close()
