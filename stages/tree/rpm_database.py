"""RPM's database, read without librpm: the headers of the packages that are installed in a tree.

Known are the two formats that distributions have: sqlite (``rpmdb.sqlite``: Fedora, Red Hat's family) and ndb
(``Packages.db``: openSUSE). A header is a count of entries, the length of their data, the entries (tag, type, offset,
count: four big-endian words each) and the data (RPM's manual, "Package format v4", Header).
"""

from __future__ import annotations

import contextlib
import shutil
import struct
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from blockdev.core.errors import BuildError

SQLITE, NDB = "rpmdb.sqlite", "Packages.db"
FOLDERS = ("usr/lib/sysimage/rpm", "var/lib/rpm")
OLD = "Packages"  # Berkeley's database, which only releases have that are not built any more
KEY = "gpg-pubkey"  # the name of entries that are no packages, but keys that packages are signed with

_TAGS = {
    1000: "name",
    1001: "version",
    1002: "release",
    1003: "epoch",
    1004: "summary",
    1009: "size",
    1014: "license",
    1011: "vendor",
    1015: "packager",
    1016: "group",
    1020: "url",
    1022: "arch",
    1044: "source",
    5009: "size",
    1116: "folder numbers",
    1117: "names",
    1118: "folders",
}
_ENTRY, _HEAD = struct.Struct(">IIII"), struct.Struct(">II")
_INT16, _INT32, _INT64, _STRING, _STRINGS, _TRANSLATED = 3, 4, 5, 6, 8, 9
_NUMBERS = {2: "B", _INT16: "H", _INT32: "I", _INT64: "Q"}
_NDB_MAGIC, _SLOT_MAGIC, _BLOB_MAGIC = b"RpmP", b"Slot", b"BlbS"
_PAGE, _SLOT, _BLOCK = 4096, struct.Struct("<4sIII"), 16  # bytes
_FIRST_SLOT = 32

Value = str | int | tuple[str, ...] | tuple[int, ...]


@dataclass(frozen=True)
class Header:
    """One installed package: its fields by name, texts empty and numbers 0 where it has none."""

    fields: Mapping[str, Value]

    def text(self, name: str) -> str:
        """A field that is a text."""
        value = self.fields.get(name, "")
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> int:
        """A field that is one number."""
        value = self.fields.get(name, 0)
        if isinstance(value, tuple):
            value = value[0] if value else 0
        return value if isinstance(value, int) else 0

    @property
    def version(self) -> str:
        """``[EPOCH:]VERSION-RELEASE``."""
        epoch = f"{self.number('epoch')}:" if "epoch" in self.fields else ""
        return f"{epoch}{self.text('version')}-{self.text('release')}"

    @property
    def paths(self) -> tuple[str, ...]:
        """All files and folders that belong to it, absolute."""
        names, folders = self._several("names"), self._several("folders")
        return tuple(
            f"{folders[number]}{name}"
            for number, name in zip(self._several("folder numbers"), names, strict=False)
            if isinstance(number, int)
        )

    def _several(self, name: str) -> tuple[str | int, ...]:
        value = self.fields.get(name, ())
        return value if isinstance(value, tuple) else ()


def parse(blob: bytes) -> Header:
    """One header; raises ValueError for bytes that are none."""
    try:
        count, length = _HEAD.unpack_from(blob)
        start = _HEAD.size + count * _ENTRY.size
        if start + length > len(blob):
            raise ValueError("it is cut off")
        data = blob[start : start + length]
        fields: dict[str, Value] = {}
        for number in range(count):
            tag, kind, offset, many = _ENTRY.unpack_from(blob, _HEAD.size + number * _ENTRY.size)
            if tag in _TAGS and (value := _value(data, kind, offset, many)) is not None:
                fields[_TAGS[tag]] = value
    except struct.error as error:
        raise ValueError(str(error)) from error
    if not isinstance(fields.get("name"), str):
        raise ValueError("it has no name")
    return Header(fields)


def _value(data: bytes, kind: int, offset: int, count: int) -> Value | None:
    if kind in _NUMBERS:
        numbers = struct.unpack_from(f">{count}{_NUMBERS[kind]}", data, offset)
        return tuple(int(number) for number in numbers)
    if kind == _STRING:
        return _text(data, offset)[0]
    if kind in (_STRINGS, _TRANSLATED):
        texts = []
        for _ in range(count):
            text, offset = _text(data, offset)
            texts.append(text)
        return texts[0] if kind == _TRANSLATED and texts else tuple(texts)
    return None


def _text(data: bytes, offset: int) -> tuple[str, int]:
    end = data.find(b"\0", offset)
    if end < 0:
        raise ValueError("a text has no end")
    return data[offset:end].decode("utf-8", "replace"), end + 1


def read(folder: Path, where: str) -> tuple[Header, ...]:
    """The packages of the database in ``folder`` by name, without keys; none where there is no database.

    Raises BuildError, naming ``where``, for one that is damaged or of a kind that is not known.
    """
    try:
        if (folder / SQLITE).is_file():
            blobs = list(_sqlite(folder / SQLITE))
        elif (folder / NDB).is_file():
            blobs = list(_ndb((folder / NDB).read_bytes()))
        elif (folder / OLD).is_file():
            raise BuildError("the RPM database is one of Berkeley's, which nothing here reads", where=where, hint=_HINT)
        else:
            return ()
        headers = [parse(blob) for blob in blobs]
    except (ValueError, OSError) as error:
        raise BuildError(f"the RPM database cannot be read: {error}", where=where, hint=_HINT) from error
    packages = (header for header in headers if header.text("name") != KEY)
    return tuple(sorted(packages, key=lambda header: (header.text("name"), header.text("arch"), header.version)))


_HINT = "rpm --rebuilddb in the tree writes it anew (dib-ctr shell opens the tree)"


def _sqlite(file: Path) -> Iterator[bytes]:
    import sqlite3  # few builds look into a database of this kind

    with contextlib.ExitStack() as held:
        waiting = file.with_name(f"{file.name}-wal")
        if waiting.is_file() and waiting.stat().st_size:  # what was not yet taken over; that would change the tree
            scratch = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="rpmdb-")))
            shutil.copyfile(waiting, scratch / waiting.name)
            file = shutil.copyfile(file, scratch / file.name)
            address = f"file:{file}"
        else:
            address = f"{file.absolute().as_uri()}?mode=ro&immutable=1"
        try:
            connection = held.enter_context(contextlib.closing(sqlite3.connect(address, uri=True)))
            yield from (bytes(row[0]) for row in connection.execute("SELECT blob FROM Packages ORDER BY hnum"))
        except sqlite3.Error as error:
            raise ValueError(str(error)) from error


def _ndb(data: bytes) -> Iterator[bytes]:
    if data[:4] != _NDB_MAGIC:
        raise ValueError("it does not begin as one")
    (pages,) = struct.unpack_from("<I", data, 12)
    for offset in range(_FIRST_SLOT, min(pages * _PAGE, len(data)), _SLOT.size):
        magic, package, block, _ = _SLOT.unpack_from(data, offset)
        if magic != _SLOT_MAGIC:
            raise ValueError("a slot is damaged")
        if not package:
            continue
        magic, same, _, length = _SLOT.unpack_from(data, block * _BLOCK)
        if magic != _BLOB_MAGIC or same != package:
            raise ValueError(f"package {package} is not where its slot says")
        start = block * _BLOCK + _SLOT.size
        yield data[start : start + length]
