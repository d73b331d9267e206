"""Building from a lock: everything it names is brought together before a stage runs, or named as gone.

Lists and packages come from the store; else from the files that the host has beside the lock; else, with a network,
from the snapshot service and from the mirror. Each is checked against the lock, whatever it comes from.
"""

from __future__ import annotations

import contextlib
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from blockdev.core.errors import BuildError, UsageError
from stages.layers.builder import Builder
from stages.layers.host_files import pieces
from stages.layers.listed_packages import entry_of
from stages.layers.package_cache import kept_package, shared
from stages.layers.package_lists import (
    CHUNK,
    INDEX,
    SavedLists,
    delivered,
    file_digest,
    saved_name,
    write_checked,
)
from stages.layers.store import Store
from stages.lock.collect import ZIPPED
from stages.protocol.control import Control
from stages.protocol.lock_record import Used, UsedPackage, UsedRepository
from stages.protocol.locking import Locking
from stages.repositories import snapshot
from stages.repositories.apt_lists import archive_of, folder_of
from stages.repositories.download import open_address
from stages.repositories.index_date import index_date
from stages.repositories.package_index import ListedFile
from stages.repositories.state import Repository, State
from stages.tree.installed_packages import identities

NAMED = 12  # so many gone packages are named, the others counted
AT_ONCE = 8  # downloads


def states(repositories: Iterable[Repository], used: Used) -> tuple[State, ...]:
    """The states that the lock has of these repositories; UsageError naming one that it does not know."""
    by_index = {repository.index: repository for repository in used.repositories}
    result = []
    for repository in repositories:
        if repository.shown not in by_index:
            raise UsageError(
                f"the lock does not know the repository {repository.name!r}",
                where=repository.shown,
                hint="build with the package sources that the lock was made with, or make a new one: --lock FILE",
            )
        locked = by_index[repository.shown]
        result.append(State(repository.index, locked.digest, locked.date, name=repository.name))
    return tuple(result)


def check(used: Used, installed: Iterable[UsedPackage]) -> None:
    """Raise BuildError naming the packages that a locked build installed otherwise than its lock says."""
    differences = used.differences(installed)
    if differences:
        raise BuildError(
            "the build installed other packages than the lock says:\n" + _listed(differences),
            hint="an element has changed what it installs: make a new lock with --lock FILE",
        )


def _listed(names: Sequence[str]) -> str:
    more = [f"and {len(names) - NAMED} more"] if len(names) > NAMED else []
    return "\n".join(f"  {name}" for name in [*names[:NAMED], *more])


def from_host(control: Control, path: str) -> Iterator[bytes]:
    """A file that the host has offered, in pieces that it sends one by one; one whose name says so is unpacked."""
    unpacker = zlib.decompressobj(wbits=31) if path.endswith(ZIPPED) else None
    for data in pieces(control, path):
        yield unpacker.decompress(data) if unpacker else data


@dataclass(frozen=True)
class Replay:
    """A locked build about to run: ``used`` is its lock."""

    used: Used
    locking: Locking
    store: Store
    control: Control
    arch: str
    offline: bool

    @property
    def _saved(self) -> SavedLists:
        return SavedLists(self.store)

    def entries(self) -> frozenset[bytes]:
        """The lock's packages, as a list of packages would have them: a stage may be given these."""
        packages = (package for package in self.used.packages if package.sha256)
        return frozenset(entry_of(ListedFile(each.cached, "sha256", each.sha256)) for each in packages)

    def _kept(self, package: UsedPackage) -> Path:
        return kept_package(self.store, "apt", self.arch, package.cached, package.sha256)

    def prepare(self, builder: Builder) -> Mapping[str, Path]:
        """Bring together what the stages that are not in the store need; returns the lists for their views.

        Raises BuildError naming what is gone.
        """
        looked = list(builder.look())
        missed = [stage for stage, hit, _ in looked if stage.packages and not hit]
        if not missed:
            return {}
        records = [builder.record(stage) for stage, hit, _ in looked if hit]
        trees = [self.store.root / "layers" / record.layer / "tree" for record in records if record and record.layer]
        there = {identity for tree in trees for identity in identities(tree)}
        missing = [package for package in self.used.packages if package.sha256 and package.identity not in there]
        first = next(stage for stage in builder.plan.stages if stage.packages)
        servers = self._servers()
        lists = self._lists_gone(servers) if first in missed else []
        packages = self._packages_gone(missing, servers)
        if lists or packages:
            raise self._gone(lists, packages)
        return {
            name: file
            for repository in self.used.repositories
            for name, file in delivered(repository, self._saved.files(repository)).items()
        }

    def _servers(self) -> dict[str, tuple[str, ...]]:
        """Where else each repository's signed index may be: in a snapshot, and at its own address."""
        if self.offline:
            return {}
        own = [Repository(each.index, each.index) for each in self.used.repositories]
        stamp = self.locking.snapshot or self.used.snapshot
        try:
            elsewhere = snapshot.at(own, stamp, self.locking.scheme) if stamp else own
        except UsageError:
            if self.locking.snapshot:
                raise
            elsewhere = tuple(own)  # the lock's own snapshot, whose server nobody has named: the mirror may do
        return {each.index: tuple(dict.fromkeys((each.source, each.index))) for each in elsewhere}

    # -- lists -----------------------------------------------------------------------------------------------------

    def _lists_gone(self, servers: Mapping[str, Sequence[str]]) -> list[UsedRepository]:
        return [each for each in self.used.repositories if not self._has_lists(each, servers.get(each.index, ()))]

    def _has_lists(self, repository: UsedRepository, servers: Sequence[str]) -> bool:
        for path in self._saved.missing(repository):
            offered = f"lists/{repository.digest}/{saved_name(path)}{'' if path == INDEX else ZIPPED}"
            if offered in self.locking.offered:
                self._taken(offered, self._saved.take(repository, path, from_host(self.control, offered)))
            elif not any(self._saved.fetch(repository, path, folder_of(server), _opened) for server in servers):
                return False
        return True

    def _taken(self, path: str, right: bool) -> None:
        if not right:
            raise UsageError(f"{path} is not what the lock says", hint="restore the file, or remove it")

    # -- packages --------------------------------------------------------------------------------------------------

    def _packages_gone(self, asked: Iterable[UsedPackage], servers: Mapping[str, Sequence[str]]) -> list[UsedPackage]:
        shared(self.store, "apt", self.arch).mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            packages = list(asked)
            right = pool.map(lambda package: file_digest(self._kept(package)) == package.sha256, packages)
            missing = [package for package, is_right in zip(packages, right, strict=True) if not is_right]
            offered = [package for package in missing if f"packages/{package.cached}" in self.locking.offered]
            for package in offered:
                path = f"packages/{package.cached}"
                self._taken(path, self._keep(package, from_host(self.control, path)))
            rest = [package for package in missing if package not in offered]
            got = pool.map(lambda package: self._fetch(package, servers.get(package.repository, ())), rest)
            return [package for package, is_here in zip(rest, got, strict=True) if not is_here]

    def _keep(self, package: UsedPackage, data: Iterable[bytes]) -> bool:
        """Put a package into the cache, if it is the right one."""
        with self.store.workplace() as workplace:
            file = workplace.path / "package"
            if write_checked(file, data) != package.sha256:
                return False
            file.rename(self._kept(package))
        return True

    def _fetch(self, package: UsedPackage, servers: Iterable[str]) -> bool:
        for server in servers:
            with contextlib.suppress(OSError), _opened(f"{archive_of(server)}/{package.file}") as answer:
                if self._keep(package, iter(lambda answer=answer: answer.read(CHUNK), b"")):  # type: ignore[misc]
                    return True
        return False

    # -- what is gone ----------------------------------------------------------------------------------------------

    def _gone(self, lists: Iterable[UsedRepository], packages: Sequence[UsedPackage]) -> BuildError:
        names = [self._gone_repository(repository) for repository in lists]
        names += [f"the package {package}" for package in packages]
        if self.offline:
            hint = "build without --offline, or from a lock that has its packages beside it (--vendor DIR)"
        else:
            hint = "--snapshot TIMESTAMP takes it from a snapshot service; --vendor DIR keeps it with the lock"
        return BuildError("what the lock names is gone:\n" + _listed(names), hint=hint)

    def _gone_repository(self, repository: UsedRepository) -> str:
        name = f"the repository {repository.index} of {_date(repository.date)}"
        if self.offline:
            return name
        try:
            with _opened(repository.index) as answer:
                now = _date(index_date(repository.index, answer.read()))
        except OSError as error:
            return f"{name}: it does not answer ({error})"
        return f"{name}: it is of {now} now"


def _opened(address: str) -> BinaryIO:
    opened: BinaryIO = open_address(address)
    return opened


def _date(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds)) if seconds else "an unknown date"
