"""Which packages the stages of a build installed, told by the layers they left: also those that went again later.

Every layer with a package database says what was installed when its stage ended, and dpkg's log what came and went
within it; the package lists in the layers say which file of which repository a package is.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from blockdev.core.digest import digest
from blockdev.core.rooted_path import inside, is_regular
from stages.protocol.lock_record import UsedPackage, UsedRepository
from stages.repositories.apt_lists import Identity, archive_of, folder_of, hashes, list_name, look_up
from stages.repositories.apt_sources import deb822, one_line
from stages.repositories.index_date import index_date
from stages.repositories.state import State, index_of
from stages.tree import package_database

LISTS = "var/lib/apt/lists"
LOGGED = re.compile(r"^\S+ \S+ (?:install|upgrade) (\S+):([a-z0-9-]+) \S+ (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class SignedIndex:
    """A repository's signed index as a layer has it, and the package lists of it, by path below its folder."""

    repository: UsedRepository
    file: Path
    lists: Mapping[str, Path]


def identities(tree: Path) -> set[Identity]:
    """The packages that one layer's tree names as installed now or a while ago."""
    result = set()
    if is_regular(inside(tree, "var/lib/dpkg/status")):
        result = {
            (each.name, each.version, each.architecture) for each in package_database.read(tree) if each.kind == "deb"
        }
    log = inside(tree, "var/log/dpkg.log")
    if log is not None and is_regular(log):
        lines = LOGGED.finditer(log.read_text(encoding="utf-8", errors="replace"))
        result |= {(match[1], match[3], match[2]) for match in lines}
    return result


def signed_indices(trees: Sequence[Path], states: Iterable[State]) -> tuple[SignedIndex, ...]:
    """The signed indices that apt left in the layers' trees (lowest first), each in its last state.

    ``states`` are of the repositories that the plan knows; the trees' own package sources tell of more. One that was
    read from elsewhere (a snapshot) counts under its own address.
    """
    lists = dict(_lists(trees))
    index_of = {state.elsewhere or state.index: state.index for state in states}
    for index in _more_sources(trees):
        index_of.setdefault(index, index)
    signed = {}
    for source, index in index_of.items():
        if index in signed:
            continue
        folder = folder_of(source)
        if list_name(source) not in lists:
            folder += "/."  # apt's address of the flat suite "./"
        file = lists.get(list_name(f"{folder}/InRelease"))
        if file is None:
            continue
        data = file.read_bytes()
        used = {}
        for path, (_, size) in hashes(data).items():
            own = lists.get(list_name(f"{folder}/{path}"))
            if own is not None and own.stat().st_size == size:
                used[path] = own
        repository = UsedRepository(index, digest(data), index_date(index, data), tuple(sorted(used)))
        signed[index] = SignedIndex(repository, file, used)
    return tuple(signed.values())


def installed(trees: Sequence[Path], indices: Iterable[SignedIndex]) -> tuple[UsedPackage, ...]:
    """Every package that the stages which left these trees installed, sorted."""
    all_identities = {identity for tree in trees for identity in identities(tree)}
    packages = {identity: UsedPackage(*identity) for identity in all_identities}
    for index in indices:
        for file in index.lists.values():
            rest = [identity for identity, package in packages.items() if not package.sha256]
            for identity, fields in look_up(file, rest).items():
                packages[identity] = _listed(identity, fields, index.repository.index)
    return tuple(sorted(packages.values()))


def _listed(identity: Identity, fields: Mapping[str, str], index: str) -> UsedPackage:
    return UsedPackage(
        *identity,
        sha256=fields.get("SHA256", ""),
        bytes=int(fields.get("Size", "0")),
        file=fields.get("Filename", "").removeprefix("./"),
        repository=index,
    )


def address(package: UsedPackage) -> str:
    """Where a listed package's file lies."""
    return f"{archive_of(package.repository)}/{package.file}"


def _plain(file: Path) -> bool:
    """Is this a plain file: layers have special ones where something was removed."""
    try:
        return stat.S_ISREG(file.lstat().st_mode)
    except OSError:
        return False


def _lists(trees: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    for tree in trees:
        folder = tree / LISTS
        if folder.is_dir() and not folder.is_symlink():
            yield from ((file.name, file) for file in folder.iterdir() if _plain(file))


def _more_sources(trees: Iterable[Path]) -> Iterator[str]:
    """The signed indices that package sources in the trees name."""
    for tree in trees:
        etc = tree / "etc/apt"
        for file in (etc / "sources.list", *sorted((etc / "sources.list.d").glob("*.*"))):
            if _plain(file):
                entries = deb822 if file.suffix == ".sources" else one_line
                for uri, suite in entries(file.read_text(encoding="utf-8", errors="replace")):
                    yield index_of(uri, suite)
