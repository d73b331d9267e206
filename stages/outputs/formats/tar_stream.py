"""A tar archive written as a stream of bytes: POSIX ustar headers, PAX records only where ustar has no room.

The standard library's ``tarfile`` keeps names and attributes as text; names here are bytes that need not be UTF-8 and
extended attributes are binary, so it marks such headers ``hdrcharset=BINARY``, which readers of image layers do
not know. Every byte written follows from the arguments alone.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Protocol

from blockdev.core import holes
from blockdev.core.errors import BuildError

FILE, HARD_LINK, SYMLINK, DIRECTORY, FIFO = b"0", b"1", b"2", b"5", b"6"
CHARACTER_DEVICE, BLOCK_DEVICE = b"3", b"4"

_BLOCK = 512
_RECORD = 20 * _BLOCK
_CHUNK = 1 << 20
XATTR = "SCHILY.xattr."  # before the names of extended attributes
_NAME_MAX = 100
_ID_MAX = 0o7777777
_SIZE_MAX = 0o77777777777
_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
_MAGIC = b"ustar\x0000"


@dataclass(frozen=True)
class Written:
    """What an archive came to: its length in bytes and the number of its members."""

    bytes: int
    entries: int


@dataclass(frozen=True, slots=True)
class Member:
    """One member; ``mtime`` in whole seconds, ``size`` in bytes (files only), ``target`` for the two kinds of link.

    ``device``: major and minor number of the two kinds of device. ``records`` are PAX records of other kinds.
    """

    name: bytes
    kind: bytes
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    size: int = 0
    target: bytes = b""
    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    device: tuple[int, int] = (0, 0)
    records: Mapping[bytes, bytes] = field(default_factory=dict)


def _header(member: Member, *, name: bytes, target: bytes, uid: int, gid: int, size: int, mtime: int) -> bytes:
    block = _HEADER.pack(
        name,
        b"%07o\0" % (member.mode & 0o7777),
        b"%07o\0" % uid,
        b"%07o\0" % gid,
        b"%011o\0" % size,
        b"%011o\0" % mtime,
        b"        ",
        member.kind,
        target,
        _MAGIC,
        b"",
        b"",
        b"%07o\0" % member.device[0],
        b"%07o\0" % member.device[1],
        b"",
    )
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _record(keyword: bytes, value: bytes) -> bytes:
    """One PAX record; its length counts its own digits."""
    rest = len(keyword) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, keyword, value)


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


def header(member: Member) -> bytes:
    """The header blocks of one member, with a PAX header before it where ustar cannot say it."""
    records: dict[bytes, bytes] = {}
    name, target, uid, gid, size, mtime = member.name, member.target, member.uid, member.gid, member.size, member.mtime
    if len(name) > _NAME_MAX:
        records[b"path"], name = name, name[:_NAME_MAX]
    if len(target) > _NAME_MAX:
        records[b"linkpath"], target = target, target[:_NAME_MAX]
    if uid > _ID_MAX:
        records[b"uid"], uid = b"%d" % uid, 0
    if gid > _ID_MAX:
        records[b"gid"], gid = b"%d" % gid, 0
    if size > _SIZE_MAX:
        records[b"size"], size = b"%d" % size, 0
    if not 0 <= mtime <= _SIZE_MAX:
        records[b"mtime"], mtime = b"%d" % mtime, 0
    for attribute, value in member.xattrs.items():
        records[XATTR.encode() + os.fsencode(attribute)] = value
    records.update(member.records)
    block = _header(member, name=name, target=target, uid=uid, gid=gid, size=size, mtime=mtime)
    if not records:
        return block
    body = b"".join(_record(keyword, records[keyword]) for keyword in sorted(records))
    pax = Member(b"././@PaxHeader", b"x")
    first = _header(pax, name=pax.name, target=b"", uid=0, gid=0, size=len(body), mtime=0)
    return first + body + _padding(len(body)) + block


class BlockSink(Protocol):
    """A reader of the archive that wants to know where its members begin."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes of the archive."""
        ...

    def member(self, name: bytes, size: int, /) -> None:
        """The next bytes begin a member of this name, whose content has ``size`` bytes."""
        ...


class Reader(Protocol):
    """What a file's content is read from."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, none at the end."""
        ...


class TarStream:
    """Writes members to ``out`` (never seeks, so a pipe will do); :meth:`close` ends the archive, not ``out``."""

    def __init__(self, out: BinaryIO | BlockSink) -> None:
        self._out = out
        self._member = getattr(out, "member", None)
        self._bytes = 0
        self._entries = 0

    def _write(self, data: bytes) -> None:
        self._out.write(data)
        self._bytes += len(data)

    def add(self, member: Member, content: bytes = b"") -> None:
        """A member whose content is at hand; ``member.size`` must be the length of ``content``."""
        if self._member:
            self._member(member.name, len(content))
        self._write(header(member) + content + _padding(len(content)))
        self._entries += 1

    def add_file(self, member: Member, path: bytes) -> None:
        """A regular file, read from ``path`` in pieces; BuildError where it has fewer bytes than ``size``."""
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if member.size <= _CHUNK and len(chunk := os.read(fd, member.size)) == member.size:
                self.add(member, chunk)
                return
            if self._member:
                self._member(member.name, member.size)
            self._write(header(member))
            left = member.size
            for chunk in holes.pieces(fd, member.size):
                self._write(chunk)
                left -= len(chunk)
        finally:
            os.close(fd)
        if left:
            raise BuildError("a file became shorter while it was archived", where=os.fsdecode(path))
        self._write(_padding(member.size))
        self._entries += 1

    def add_sparse(self, member: Member, path: bytes, parts: Sequence[tuple[int, int]]) -> None:
        """A regular file of which only ``parts`` (begin, length) are no zeros, in GNU's sparse format for PAX, 1.0."""
        whole = [*parts] if parts and sum(parts[-1]) == member.size else [*parts, (member.size, 0)]
        table = b"".join(b"%d\n" % number for number in (len(whole), *(each for part in whole for each in part)))
        table += _padding(len(table))
        size = len(table) + sum(length for _, length in parts)
        folder, slash, name = member.name.rpartition(b"/")
        records = {
            b"GNU.sparse.major": b"1",
            b"GNU.sparse.minor": b"0",
            b"GNU.sparse.name": member.name,
            b"GNU.sparse.realsize": b"%d" % member.size,
        }
        stored = folder + slash + b"GNUSparseFile.0/" + name
        if self._member:
            self._member(member.name, size)
        self._write(header(replace(member, name=stored, size=size, records={**member.records, **records})) + table)
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            for begin, length in parts:
                self._copy(fd, begin, length, path)
        finally:
            os.close(fd)
        self._write(_padding(size))
        self._entries += 1

    def _copy(self, fd: int, at: int, left: int, path: bytes) -> None:
        while left:
            chunk = os.pread(fd, min(left, _CHUNK), at)
            if not chunk:
                raise BuildError("a file became shorter while it was archived", where=os.fsdecode(path))
            self._write(chunk)
            at, left = at + len(chunk), left - len(chunk)

    def add_stream(self, member: Member, source: Reader) -> None:
        """A regular file, read in pieces from what gives it; BuildError where that has fewer bytes than ``size``."""
        if self._member:
            self._member(member.name, member.size)
        self._write(header(member))
        left = member.size
        while left:
            chunk = source.read(min(left, _CHUNK))
            if not chunk:
                raise BuildError("a file breaks off while it is archived", where=os.fsdecode(member.name))
            self._write(chunk)
            left -= len(chunk)
        self._write(_padding(member.size))
        self._entries += 1

    def close(self) -> Written:
        """Write the end of the archive, padded to a whole tar record."""
        end = self._bytes + 2 * _BLOCK
        self._write(bytes(2 * _BLOCK + -end % _RECORD))
        return Written(self._bytes, self._entries)
