"""RPM's database, from headers made by hand as its format says; tests with real packages read librpm's own."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest

from blockdev.core.errors import BuildError
from builder.describe.purl import of_package
from stages.tree import package_database, rpm_database

STRING, STRINGS, INT32, TRANSLATED = 6, 8, 4, 9
TAGS = {"name": 1000, "version": 1001, "release": 1002, "arch": 1022, "source": 1044, "vendor": 1011, "url": 1020}


def header(name: str, *, epoch: int | None = None, files: Sequence[str] = (), **texts: str) -> bytes:
    """One package's header."""
    fields: list[tuple[int, int, int, bytes]] = []
    told = {"name": name, "version": "1.2", "release": "3.fc42", "arch": "x86_64", **texts}
    fields += [(TAGS[key], STRING, 1, text.encode() + b"\0") for key, text in told.items()]
    fields.append((1004, TRANSLATED, 1, b"About it\0"))
    fields.append((1009, INT32, 1, struct.pack(">I", 4711)))
    if epoch is not None:
        fields.append((1003, INT32, 1, struct.pack(">I", epoch)))
    if files:
        folders = sorted({file.rpartition("/")[0] + "/" for file in files})
        numbers = [folders.index(file.rpartition("/")[0] + "/") for file in files]
        fields.append((1116, INT32, len(files), struct.pack(f">{len(files)}I", *numbers)))
        names = (file.rpartition("/")[2] for file in files)
        fields.append((1117, STRINGS, len(files), b"".join(part.encode() + b"\0" for part in names)))
        fields.append((1118, STRINGS, len(folders), b"".join(part.encode() + b"\0" for part in folders)))
    entries = data = b""
    for tag, kind, count, value in fields:
        data += bytes(-len(data) % 4) if kind == INT32 else b""
        entries += struct.pack(">IIII", tag, kind, len(data), count)
        data += value
    return struct.pack(">II", len(fields), len(data)) + entries + data


def sqlite(folder: Path, *headers: bytes) -> Path:
    """A database as Fedora's rpm has it."""
    folder.mkdir(parents=True)
    connection = sqlite3.connect(folder / rpm_database.SQLITE)
    connection.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
    connection.executemany("INSERT INTO Packages (blob) VALUES (?)", [(data,) for data in headers])
    connection.commit()
    connection.close()
    return folder


def ndb(folder: Path, *headers: bytes) -> Path:
    """A database as openSUSE's rpm has it: a page of slots, then the packages, in blocks of 16 bytes."""
    folder.mkdir(parents=True)
    slots = blobs = b""
    for number, data in enumerate(headers, 1):
        block = (4096 + len(blobs)) // 16
        blob = struct.pack("<4sIII", b"BlbS", number, 1, len(data)) + data
        blob += bytes(-len(blob) % 16)
        slots += struct.pack("<4sIII", b"Slot", number, block, len(blob) // 16)
        blobs += blob
    empty = struct.pack("<4sIII", b"Slot", 0, 0, 0)
    slots += empty * ((4096 - 32 - len(slots)) // 16)
    (folder / rpm_database.NDB).write_bytes(struct.pack("<4sIII16x", b"RpmP", 0, 1, 1) + slots + blobs)
    return folder


PACKAGES = (
    header("zsh", files=["/usr/bin/zsh", "/etc/zshrc"], source="zsh-1.2-3.fc42.src.rpm", vendor="Someone"),
    header("gpg-pubkey", arch="(none)"),
    header("bash", epoch=5, source="shells-9-1.src.rpm", url="http://bash.invalid"),
)


@pytest.mark.parametrize("make", [sqlite, ndb])
@pytest.mark.parametrize("place", rpm_database.FOLDERS)
def test_packages_are_read_without_keys(tmp_path: Path, make: object, place: str) -> None:
    assert callable(make)
    make(tmp_path / place, *PACKAGES)
    bash, zsh = package_database.read(tmp_path)
    assert (bash.kind, bash.name, bash.version, bash.architecture) == ("rpm", "bash", "5:1.2-3.fc42", "x86_64")
    assert (bash.source, bash.source_version, bash.homepage) == ("shells", "9-1", "http://bash.invalid")
    assert (zsh.version, zsh.source, zsh.source_version) == ("1.2-3.fc42", "zsh", "1.2-3.fc42")
    assert (zsh.summary, zsh.bytes, zsh.maintainer) == ("About it", 4711, "Someone")
    (found,) = [each for each in rpm_database.read(tmp_path / place, "") if each.text("name") == "zsh"]
    assert found.paths == ("/usr/bin/zsh", "/etc/zshrc")


def test_the_package_url_has_the_epoch_as_a_qualifier(tmp_path: Path) -> None:
    sqlite(tmp_path / rpm_database.FOLDERS[0], *PACKAGES)
    bash, zsh = (
        str(of_package(each, {"ID": "fedora", "VERSION_ID": "42"})) for each in package_database.read(tmp_path)
    )
    assert bash.startswith("pkg:rpm/fedora/bash@1.2-3.fc42?")
    assert "epoch=5" in bash
    assert "upstream=shells" in bash
    assert zsh == "pkg:rpm/fedora/zsh@1.2-3.fc42?arch=x86_64&distro=fedora-42"


def test_what_was_not_yet_taken_over_counts(tmp_path: Path) -> None:
    """rpm writes ahead into a second file; who reads must not change the tree."""
    folder = sqlite(tmp_path / "db", PACKAGES[0])
    connection = sqlite3.connect(folder / rpm_database.SQLITE)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("INSERT INTO Packages (blob) VALUES (?)", (PACKAGES[2],))
    connection.commit()
    before = {file.name: file.read_bytes() for file in folder.iterdir() if not file.name.endswith("-shm")}
    assert f"{rpm_database.SQLITE}-wal" in before
    assert [each.text("name") for each in rpm_database.read(folder, "")] == ["bash", "zsh"]
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.name in before} == before
    connection.close()


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        (rpm_database.SQLITE, b"no database at all, but long enough to look like one", "cannot be read"),
        (rpm_database.NDB, b"RpmQ" + bytes(4092), "does not begin as one"),
        (rpm_database.NDB, struct.pack("<4sIII16x", b"RpmP", 0, 1, 1) + bytes(4064), "a slot is damaged"),
        (rpm_database.OLD, b"x", "Berkeley"),
    ],
)
def test_a_damaged_database_is_named(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    folder = tmp_path / rpm_database.FOLDERS[1]
    folder.mkdir(parents=True)
    (folder / name).write_bytes(data)
    with pytest.raises(BuildError, match=said) as caught:
        package_database.read(tmp_path)
    assert caught.value.where == "/var/lib/rpm"


@pytest.mark.parametrize("data", [b"", header("a")[:-9], struct.pack(">II", 0, 0), struct.pack(">II", 1 << 30, 0)])
def test_a_header_that_is_none_is_refused(tmp_path: Path, data: bytes) -> None:
    sqlite(tmp_path / rpm_database.FOLDERS[0], data)
    with pytest.raises(BuildError, match="cannot be read"):
        package_database.read(tmp_path)
