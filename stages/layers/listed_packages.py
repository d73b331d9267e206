"""Which files of packages the plan's repositories list: what a package cache may keep and give.

``cache/listed/`` in the store has a table of each list that was seen, named by the list's own checksum, and for each
state of a repository the lists that its signed index names. A table is a line with the algorithms of its checksums and
then, sorted, 16 bytes for each file: the beginning of the SHA-256 of its name and its checksum.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from blockdev.core.atomic_file import write_file
from blockdev.core.typed_json import Struct, read
from stages.layers.package_lists import INDEX, SavedLists
from stages.layers.store import Store
from stages.repositories import package_index
from stages.repositories.apt_lists import folder_of, list_name
from stages.repositories.package_index import APK, APT, PACMAN, RPM, ListedFile, PackageList
from stages.repositories.state import State
from stages.tree.installed_packages import LISTS

FOLDER = "listed"  # in the store's cache
WIDTH = 16  # bytes of an entry
LARGEST_INDEX = 256 << 20  # bytes of a signed index
PACMAN_LISTS = "var/lib/pacman/sync"


def entry_of(listed: ListedFile) -> bytes:
    """What a table holds of a listed file."""
    return hashlib.sha256(f"{listed.name}\0{listed.algorithm}:{listed.digest}".encode()).digest()[:WIDTH]


class Places(Protocol):
    """Where a repository's lists may lie: nothing about them is believed but their checksums."""

    def signed(self, state: State) -> Iterable[Path]:
        """Files that may be the signed index of this state."""

    def lists(self, state: State, listed: PackageList) -> Iterable[Path]:
        """Files that may be this list of it."""


@dataclass(frozen=True)
class StagePlaces:
    """The places where a stage's package tool leaves lists: in the tree, and below ``folders`` (its caches)."""

    tree: Path
    folders: Sequence[Path]

    def signed(self, state: State) -> Iterator[Path]:
        """See Places."""
        kind = package_index.kind_of(state.index)
        for address in {state.source, state.index}:
            if kind == APT:
                yield from self._apt(address, INDEX)
            elif kind == PACMAN:
                yield self.tree / PACMAN_LISTS / address.rpartition("/")[2]
        if kind in (RPM, APK):
            pattern = "repomd.xml" if kind == RPM else "APKINDEX*.tar.gz"
            for folder in self.folders:
                yield from folder.rglob(pattern)

    def lists(self, state: State, listed: PackageList) -> Iterator[Path]:
        """See Places."""
        kind = package_index.kind_of(state.index)
        if kind == APT:
            for address in {state.source, state.index}:
                yield from self._apt(address, listed.path)
        elif kind == RPM:
            for folder in self.folders:
                yield from (file for file in folder.rglob("*primary.xml*") if file.name == listed.path)
        else:
            yield from self.signed(state)

    def _apt(self, address: str, path: str) -> Iterator[Path]:
        for name in (f"{folder_of(address)}/{path}", f"{folder_of(address)}/./{path}"):  # apt's of the suite "./"
            yield self.tree / LISTS / list_name(name)


@dataclass(frozen=True)
class SavedPlaces:
    """The lists that are saved for locks (``stages.layers.package_lists``), in the place of a stage's."""

    saved: SavedLists

    def signed(self, state: State) -> Iterator[Path]:
        """See Places."""
        yield self.saved.file(state.digest, INDEX)

    def lists(self, state: State, listed: PackageList) -> Iterator[Path]:
        """See Places."""
        yield self.saved.file(state.digest, listed.path)


@dataclass
class ListedPackages:
    """What the lists of the plan's repositories hold, as far as these were seen. ``more``: entries beside these."""

    store: Store
    states: Sequence[State]
    more: frozenset[bytes] = frozenset()
    _tables: dict[Path, Table] | None = field(default=None, init=False)
    _contained: dict[bytes, bool] = field(default_factory=dict, init=False)

    def has(self, entry: bytes) -> bool:
        """Does a list have this entry."""
        if entry not in self._contained:
            self._contained[entry] = entry in self.more or any(entry in table for table in self._loaded().values())
        return self._contained[entry]

    def entry_of_file(self, name: str, file: Path) -> tuple[bytes, str] | None:
        """The entry by which this file is listed, and its SHA-256; None where it is in no list."""
        name = package_index.cached_name(name)
        algorithms = dict.fromkeys(
            ("sha256", *(each for table in self._loaded().values() for each in table.algorithms))
        )
        with file.open("rb") as data:
            sha256 = package_index.file_digest(data, "sha256")
            for algorithm in algorithms:
                digest = sha256 if algorithm == "sha256" else package_index.file_digest(data, algorithm)
                entry = entry_of(ListedFile(name, algorithm, digest))
                if digest and self.has(entry):
                    return entry, sha256
        return None

    def learn(self, places: Places) -> None:
        """Make tables of the lists that lie in these places and were not seen yet."""
        learned = False
        for state in self.states:
            kind = package_index.kind_of(state.index)
            if not kind:
                continue
            for listed in self._lists_of(state, kind, places):
                table = self._table_file(listed)
                if not table.exists() and (file := _right(places.lists(state, listed), listed)):
                    learned |= _write_table(table, kind, file)
        if learned:
            self._forget()

    def moved(self) -> list[State]:
        """The states of which nothing was seen yet, where lists of an earlier one of the same repository were used."""
        folder = self.store.root / "cache" / FOLDER
        return [
            state
            for state in self.states
            if not (folder / f"{state.digest}.lists").exists() and self._used_before(state.index)
        ]

    def learn_moved(self, places: Places) -> None:
        """Make tables of those lists of which an earlier state was used, for the states that ``moved`` tells of."""
        for state in self.moved():
            kind, used = package_index.kind_of(state.index), self._used_before(state.index)
            for listed in self._lists_of(state, kind, places):
                table = self._table_file(listed)
                if (
                    _role(listed) in used
                    and not table.exists()
                    and (file := _right(places.lists(state, listed), listed))
                ):
                    _write_table(table, kind, file)
        self._forget()

    def _used_before(self, index: str) -> set[str]:
        """Which lists of a repository have tables, whatever its state was then."""
        roles = set()
        for file in (self.store.root / "cache" / FOLDER).glob("*.lists"):
            with suppress(OSError, ValueError):
                of_index, lists = _read_named(file)
                if of_index == index:
                    roles |= {_role(listed) for listed in lists if self._table_file(listed).exists()}
        return roles

    def _forget(self) -> None:
        self._tables = None
        self._contained.clear()

    def _lists_of(self, state: State, kind: str, places: Places | None) -> list[PackageList]:
        """The lists of packages that a state's signed index names; none where that was not seen."""
        file = self.store.root / "cache" / FOLDER / f"{state.digest}.lists"
        with suppress(OSError, ValueError):
            return _read_named(file)[1]
        index = PackageList("", "sha256", state.digest)
        signed = _right(places.signed(state), index, LARGEST_INDEX) if places else None
        if signed is None:
            return []
        package_lists = package_index.lists_of(kind, state.digest, signed.read_bytes() if kind in (APT, RPM) else b"")
        file.parent.mkdir(parents=True, exist_ok=True)
        lists = _Lists(
            index=state.index, lists=tuple((each.path, each.algorithm, each.digest) for each in package_lists)
        )
        write_file(file, json.dumps(vars(lists)))
        return package_lists

    def _table_file(self, listed: PackageList) -> Path:
        return self.store.root / "cache" / FOLDER / f"{listed.algorithm}-{listed.digest}"

    def _loaded(self) -> Mapping[Path, Table]:
        if self._tables is None:
            self._tables = {}
            for state in self.states:
                for listed in self._lists_of(state, package_index.kind_of(state.index), None):
                    file = self._table_file(listed)
                    with suppress(OSError):
                        self._tables[file] = Table.read(file)
                        os.utime(file)  # the last use, for prune
        return self._tables


class _Lists(Struct):
    """The lists that a repository's index names: path, algorithm and digest of each."""

    index: str
    lists: tuple[tuple[str, str, str], ...]


def _read_named(file: Path) -> tuple[str, list[PackageList]]:
    content = read(_Lists, json.loads(file.read_text(encoding="utf-8")))
    return content.index, [PackageList(*fields) for fields in content.lists]


def _role(listed: PackageList) -> str:
    """What stays the same of a list's path while its repository moves: RPM's have their checksum in it."""
    return listed.path if listed.path.endswith("/Packages") else ""


@dataclass(frozen=True)
class Table:
    """A list's entries, sorted, and the algorithms of its checksums."""

    algorithms: tuple[str, ...]
    entries: bytes

    @classmethod
    def read(cls, file: Path) -> Table:
        """Read what ``_write_table`` wrote; raises OSError."""
        first, _, entries = file.read_bytes().partition(b"\n")
        return cls(tuple(first.decode("ascii", "replace").split()), entries)

    def __contains__(self, entry: bytes) -> bool:
        low, high = 0, len(self.entries) // WIDTH
        while low < high:
            middle = (low + high) // 2
            candidate = self.entries[middle * WIDTH : (middle + 1) * WIDTH]
            if candidate == entry:
                return True
            low, high = (middle + 1, high) if candidate < entry else (low, middle)
        return False


def _write_table(table: Path, kind: str, file: Path) -> bool:
    """Write the table of a list that was checked; tells whether it could be read."""
    algorithms: dict[str, None] = {}
    entries = set()
    try:
        for listed in package_index.listed_files(kind, file):
            algorithms[listed.algorithm] = None
            entries.add(entry_of(listed))
    except (OSError, EOFError, ValueError, lzma.LZMAError):
        return False
    table.parent.mkdir(parents=True, exist_ok=True)
    fresh = table.with_name(f".{table.name}.{os.getpid()}")
    with fresh.open("wb") as out:
        out.write(" ".join(algorithms).encode() + b"\n" + b"".join(sorted(entries)))
        out.flush()
        os.fsync(out.fileno())  # nobody would miss entries that a power loss took
    fresh.replace(table)
    return True


def _right(files: Iterable[Path], listed: PackageList, largest: int = 1 << 40) -> Path | None:
    """The first of these that is a plain file with the wanted checksum."""
    for file in files:
        try:
            handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        with os.fdopen(handle, "rb") as data:
            state = os.fstat(handle)
            if not stat.S_ISREG(state.st_mode) or state.st_size > largest:
                continue
            if package_index.file_digest(data, listed.algorithm) == listed.digest:
                return file
    return None
