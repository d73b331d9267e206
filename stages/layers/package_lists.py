"""Package lists kept in the store, so that a locked build can be repeated after its mirror has moved.

``repositories/lists/<SHA-256 of the signed index>/`` has the signed index and the lists that were used of it, hard
links to the layers' own. They count only while their digests are right, whatever became of them meanwhile.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import lzma
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from stages.layers.store import Store
from stages.protocol.lock_record import UsedRepository
from stages.repositories.apt_lists import folder_of, hashes, list_name
from stages.repositories.state import SAVED_LISTS
from stages.tree.installed_packages import SignedIndex

INDEX = "InRelease"
CHUNK = 1 << 20  # bytes


def file_digest(file: Path) -> str:
    """The SHA-256 of a file, or "" where it cannot be read."""
    try:
        with file.open("rb") as data:
            return hashlib.file_digest(data, "sha256").hexdigest()
    except OSError:
        return ""


def saved_name(path: str) -> str:
    """The file name of a list in its folder."""
    return path.replace("%", "%25").replace("_", "%5f").replace("/", "_")


@dataclass(frozen=True)
class SavedLists:
    """The saved lists of a store."""

    store: Store

    def folder(self, repository: UsedRepository) -> Path:
        """Where the lists of a repository's state are."""
        return self.store.root / SAVED_LISTS / repository.digest

    def file(self, digest: str, path: str) -> Path:
        """Where a file of the state with this digest is, if it is here at all: nobody has looked at it."""
        return self.store.root / SAVED_LISTS / digest / saved_name(path)

    def save(self, indices: Iterable[SignedIndex]) -> None:
        """Keep what layers have, by hard links."""
        for index in indices:
            folder = self.folder(index.repository)
            folder.mkdir(parents=True, exist_ok=True)
            for path, file in {INDEX: index.file, **index.lists}.items():
                with contextlib.suppress(FileExistsError):
                    os.link(file, folder / saved_name(path))
            os.utime(folder)  # the last use, for prune

    def files(self, repository: UsedRepository) -> dict[str, Path]:
        """The repository's saved files by path below its folder; what is not right is removed and left out."""
        folder = self.folder(repository)
        index = folder / INDEX
        if file_digest(index) != repository.digest:
            index.unlink(missing_ok=True)
            return {}
        os.utime(folder)
        sums = hashes(index.read_bytes())
        result = {INDEX: index}
        for path in repository.lists:
            file = folder / saved_name(path)
            if file_digest(file) == sums.get(path, ("", 0))[0] != "":
                result[path] = file
            else:
                file.unlink(missing_ok=True)
        return result

    def missing(self, repository: UsedRepository) -> list[str]:
        """The paths of the repository's files that are not here."""
        here = self.files(repository)
        return [path for path in (INDEX, *repository.lists) if path not in here]

    def take(self, repository: UsedRepository, path: str, data: Iterable[bytes]) -> bool:
        """Keep a file that comes from elsewhere, if it is the right one; tells whether it was."""
        folder = self.folder(repository)
        folder.mkdir(parents=True, exist_ok=True)
        expected = repository.digest
        if path != INDEX:
            expected = hashes((folder / INDEX).read_bytes()).get(path, ("", 0))[0]
        with self.store.workplace() as workplace:
            file = workplace.path / "list"
            if write_checked(file, data) != expected:
                return False
            file.rename(folder / saved_name(path))
        return True

    def fetch(self, repository: UsedRepository, path: str, folder: str, open_: Callable[[str], BinaryIO]) -> bool:
        """Take a file from a server that has it below the address ``folder``; tells whether it had the right one."""
        for suffix, unpack in READERS.items() if path != INDEX else (("", _plain),):
            try:
                with open_(f"{folder}/{path}{suffix}") as answer:
                    if self.take(repository, path, unpack(answer)):
                        return True
            except (OSError, EOFError, lzma.LZMAError):
                continue
        return False


def write_checked(file: Path, data: Iterable[bytes]) -> str:
    """Write pieces into a new file and return their SHA-256."""
    digest = hashlib.sha256()
    with file.open("wb") as out:
        for piece in data:
            digest.update(piece)
            out.write(piece)
    return digest.hexdigest()


def _plain(answer: BinaryIO) -> Iterator[bytes]:
    yield from iter(lambda: answer.read(CHUNK), b"")


def _xz(answer: BinaryIO) -> Iterator[bytes]:
    with lzma.open(answer) as data:
        yield from iter(lambda: data.read(CHUNK), b"")


def _gzip(answer: BinaryIO) -> Iterator[bytes]:
    with gzip.open(answer) as data:
        yield from iter(lambda: data.read(CHUNK), b"")


READERS: Mapping[str, Callable[[BinaryIO], Iterator[bytes]]] = {".xz": _xz, ".gz": _gzip, "": _plain}


def delivered(repository: UsedRepository, files: Mapping[str, Path]) -> dict[str, Path]:
    """The files by where a stage finds them in its view: as apt names them, and in the order of an archive.

    ``apt/NAME`` is what goes to ``var/lib/apt/lists``; below ``archive/``, the address without its scheme leads to the
    files as a mirror has them, for apt to check their signatures.
    """
    result = {}
    folder = folder_of(repository.index)
    names = [folder] if "/dists/" in folder else [folder, f"{folder}/."]  # apt's address of a flat suite "./"
    for path, file in files.items():
        for name in names:
            result[f"apt/{list_name(f'{name}/{path}')}"] = file
        result[f"archive/{folder.partition('://')[2]}/{path}"] = file
    return result
