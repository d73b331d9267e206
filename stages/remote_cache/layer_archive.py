"""A layer of the store as a tar that gives the very same layer on another machine.

Unlike an image's layer it is no changeset: owners, modes, times to the nanosecond, hard links, extended attributes,
whiteouts and opaque folders are as the overlay has them in its upper folder. Before the layer's files, which lie below
``layer/``, comes ``record.json``, what the store knows of the stage. Pack and unpack as root of the build's user
namespace. What comes from elsewhere is trusted in nothing: each name must lead into a folder that this very archive has
made, so nothing can be written outside the layer, whatever links are in it.

Not kept: sockets' content (they have none), the overlay's note of where a file was copied up from (it is a handle of
one machine's file system and counts in an upper folder only), and labels that are the building host's own.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from blockdev.core.errors import BuildError
from blockdev.core.typed_json import Struct, read
from stages.layers.digest_list import ACCESS_LISTS, CAPABILITY, ORIGIN
from stages.outputs.formats import tar_stream
from stages.outputs.formats.tar_stream import XATTR, Member, TarStream, Written
from stages.outputs.formats.tree_tar import plain_capability

RECORD = "record.json"
FOLDER = b"layer"
_SOCKET = "DIBCTR.socket"
_CHUNK = 1 << 16
_RECORD_MOST = 8 << 20  # bytes
_TIME = re.compile(r"(-?)([0-9]{1,12})(?:\.([0-9]{1,9}))?\Z")
_KINDS = {
    stat.S_IFREG: tar_stream.FILE,
    stat.S_IFDIR: tar_stream.DIRECTORY,
    stat.S_IFLNK: tar_stream.SYMLINK,
    stat.S_IFIFO: tar_stream.FIFO,
    stat.S_IFSOCK: tar_stream.FIFO,
    stat.S_IFCHR: tar_stream.CHARACTER_DEVICE,
}


class NotPortableError(BuildError):
    """This layer cannot be written so that it would be the same elsewhere."""


class BadLayerError(BuildError):
    """An archive is not what a layer is packed into."""

    def __init__(self, what: str, where: str = "") -> None:
        super().__init__(what, where=where)


# -- packing -------------------------------------------------------------------------------------------------------


class PackedRecord(Struct):
    """What travels beside the files of a stage's layer, or of an output: everything that holds on any machine.

    ``below`` is the digest of the chain of layers that it lies on (``stages.remote_cache.offers``), ``content`` that
    of its files (``stages.layers.digest_list``). An output has no ``seconds``.
    """

    key: str
    below: str
    layer: str
    parts: tuple[str, ...]
    title: str
    created: float
    content: str
    seconds: float = 0.0


def pack(layer: Path | None, record: PackedRecord, out: BinaryIO) -> Written:
    """Write the layer's folder (None: the stage changed nothing) and its record as a tar to ``out``, which stays open.

    Raises NotPortableError, OSError.
    """
    stream = TarStream(out)
    text = json.dumps(vars(record), sort_keys=True).encode()
    stream.add(Member(RECORD.encode(), tar_stream.FILE, size=len(text)), text)
    if layer is not None:
        names: dict[tuple[int, int], bytes] = {}
        for path, name, status in _walk(os.fsencode(layer)):
            _put(stream, path, name, status, names)
    return stream.close()


def _walk(root: bytes) -> Iterator[tuple[bytes, bytes, os.stat_result]]:
    """Path, name and status of a folder and all below it; what is in a folder comes after it."""
    yield root, FOLDER, os.lstat(root)
    folders = [(root, FOLDER)]
    while folders:
        folder, prefix = folders.pop()
        with os.scandir(folder) as inside:
            entries = sorted(inside, key=lambda entry: entry.name)
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            name = prefix + b"/" + entry.name
            if stat.S_ISDIR(status.st_mode):
                folders.append((entry.path, name))
            yield entry.path, name, status


def _put(
    stream: TarStream, path: bytes, name: bytes, status: os.stat_result, names: dict[tuple[int, int], bytes]
) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind not in _KINDS or (kind == stat.S_IFCHR and status.st_rdev != 0):
        raise NotPortableError("a device in a layer", where=os.fsdecode(name))
    if status.st_nlink > 1 and kind != stat.S_IFDIR:
        first = names.setdefault((status.st_dev, status.st_ino), name)
        if first != name:
            stream.add(Member(name, tar_stream.HARD_LINK, target=first))
            return
    records = {b"mtime": _time(status.st_mtime_ns)}
    if kind == stat.S_IFSOCK:
        records[_SOCKET.encode()] = b"1"
    member = Member(
        name,
        _KINDS[kind],
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        size=status.st_size if kind == stat.S_IFREG else 0,
        target=os.readlink(path) if kind == stat.S_IFLNK else b"",  # noqa: PTH115 (bytes)
        xattrs=_attributes(path),
        records=records,
    )
    if member.size:
        stream.add_file(member, path)
    else:
        stream.add(member)


def _time(nanoseconds: int) -> bytes:
    sign = b"-" if nanoseconds < 0 else b""
    return sign + b"%d.%09d" % divmod(abs(nanoseconds), 1_000_000_000)


def _attributes(path: bytes) -> dict[str, bytes]:
    attributes = {}
    for name in os.listxattr(path, follow_symlinks=False):
        if name == ORIGIN or not (name.startswith("user.") or name == CAPABILITY or name in ACCESS_LISTS):
            continue
        if "=" in name:
            raise NotPortableError("an attribute whose name no archive can hold", where=f"{os.fsdecode(path)}: {name}")
        value = os.getxattr(path, name, follow_symlinks=False)
        attributes[name] = plain_capability(value) if name == CAPABILITY else value
    return attributes


# -- unpacking -----------------------------------------------------------------------------------------------------


def unpack(archive: BinaryIO, target: Path) -> PackedRecord:
    """Read a packed layer and write its files to the empty folder ``target``; the record that came with it.

    Raises BadLayerError for what is no packed layer, OSError where the disk is full.
    """
    try:
        with tarfile.open(fileobj=archive, mode="r|", bufsize=1 << 18, errors="surrogateescape") as members:
            first = members.next()
            record = _record(members, first)
            writing = _Writing(target)
            while (member := members.next()) is not None:
                writing.write(members, member)
                members.members.clear()  # type: ignore[attr-defined]  # what is written is of no use any more, and a layer has many files
            writing.finish()
    except (tarfile.TarError, EOFError, UnicodeError) as error:
        raise BadLayerError(f"it is no whole archive: {error}") from error
    return record


def _record(members: tarfile.TarFile, first: tarfile.TarInfo | None) -> PackedRecord:
    data = members.extractfile(first) if first and first.name == RECORD and first.size < _RECORD_MOST else None
    if data is None:
        raise BadLayerError("it does not begin with a record")
    try:
        return read(PackedRecord, json.loads(data.read()))
    except ValueError as error:
        raise BadLayerError("its record cannot be read") from error


@dataclass
class _Writing:
    """A layer while it is written: ``folders`` and ``files`` are what this archive has made, by name."""

    target: Path
    folders: dict[str, int] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)

    def write(self, members: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """Write one member; raises BadLayerError for one that leads elsewhere or is no part of a layer."""
        name = member.name
        path = self._target_of(name, folder=member.isdir())
        try:
            if member.islnk():
                if member.linkname not in self.files:
                    raise BadLayerError("a hard link to something else than a file before it", name)
                os.link(self._path(member.linkname), path, follow_symlinks=False)
                return
            self._make(members, member, path)
        except FileExistsError as error:
            raise BadLayerError("one name twice", name) from error
        time = _nanoseconds(member)
        os.lchown(path, member.uid, member.gid)
        if not member.issym():
            os.chmod(path, member.mode & 0o7777)  # noqa: PTH101 (as text: a layer has many files)
        for key, value in member.pax_headers.items():
            if key.startswith(XATTR):
                self._attribute(path, name, key.removeprefix(XATTR), value)
        if member.isdir():
            self.folders[name] = time
        else:
            self.files.add(name)
            os.utime(path, ns=(time, time), follow_symlinks=False)

    def _path(self, name: str) -> str:
        return f"{self.target}{name[len(FOLDER) :]}"

    def _target_of(self, name: str, *, folder: bool) -> str:
        """Where a member goes; BadLayerError where that is not in a folder that the archive has made."""
        above, _, last = name.rpartition("/")
        if not self.folders:
            if name != FOLDER.decode() or not folder:
                raise BadLayerError("it does not begin with the layer's folder", name)
        elif above not in self.folders or last in ("", ".", ".."):
            raise BadLayerError("a name that leads out of the layer", name)
        return self._path(name)

    def _make(self, members: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
        if member.isdir():
            if self.folders:
                os.mkdir(path, 0o700)  # noqa: PTH102 (as text)
        elif member.issym():
            os.symlink(member.linkname, path)  # noqa: PTH211 (as text)
        elif member.isfifo():
            kind = stat.S_IFSOCK if _SOCKET in member.pax_headers else stat.S_IFIFO
            os.mknod(path, kind | 0o600)
        elif member.ischr() and (member.devmajor, member.devminor) == (0, 0):
            os.mknod(path, stat.S_IFCHR | 0o600, 0)  # an overlay's whiteout, which takes no privilege
        elif member.isreg() and not member.issparse():
            _copy(members, member, path)
        else:
            raise BadLayerError("something that no layer has", member.name)

    @staticmethod
    def _attribute(path: str, name: str, attribute: str, value: str) -> None:
        if not (attribute.startswith("user.") or attribute == CAPABILITY or attribute in ACCESS_LISTS):
            raise BadLayerError(f"the attribute {attribute}, which no layer has", name)
        os.setxattr(path, attribute, value.encode("utf-8", "surrogateescape"), follow_symlinks=False)

    def finish(self) -> None:
        """Give the folders their times, now that nothing is written into them any more."""
        for name in reversed(self.folders):
            time = self.folders[name]
            os.utime(self._path(name), ns=(time, time))


def _nanoseconds(member: tarfile.TarInfo) -> int:
    match = _TIME.match(member.pax_headers.get("mtime", ""))
    if match is None:
        raise BadLayerError("a time that cannot be read", member.name)
    time = int(match[2]) * 1_000_000_000 + int((match[3] or "").ljust(9, "0"))
    return -time if match[1] else time


def _copy(members: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> None:
    """Write a file; pieces of zeros become holes."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        data = members.extractfile(member) if member.size else None
        left, hole = member.size, False
        while data and left:
            piece = data.read(min(left, _CHUNK))
            if not piece:
                raise BadLayerError("a file breaks off", member.name)
            hole = len(piece) == _CHUNK and not piece.strip(b"\0")
            if hole:
                os.lseek(handle, len(piece), os.SEEK_CUR)
            else:
                _write(handle, piece)
            left -= len(piece)
        if hole:
            os.ftruncate(handle, member.size)
    finally:
        os.close(handle)


def _write(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]
