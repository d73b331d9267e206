"""Package caches: what one stage downloads, later stages and builds find; never part of a layer or a key.

A stage sees a view of its own: what is kept is the lower folder of an overlay, what the stage writes goes to an upper
one. So no script can change a kept file, builds never meet, and a killed one leaves nothing half-made. Of what a stage
that succeeded has added there is kept

- a package's file, for all builds, if the plan's repositories list it (``listed_packages``); it is given to
  those builds alone whose repositories list it, too: ``cache/<name>/<arch>/<folder>/<SHA-256>-<entry>-<file name>``;
- lists of packages with the checksums that the plan's state names, for all builds from that state:
  ``cache/<name>-lists/<arch>/<state>/<folder>/<SHA-256>-<file name>``;
- what else belongs to lists, and what lies in caches that hold no packages: for builds with the same scripts up to
  the last that sees the cache (``writers``): ``cache/<name>-private/<arch>/<writers>``.

What a failed stage wrote is not kept.
"""

from __future__ import annotations

import fnmatch
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from blockdev.core.digest import digest
from stages.element.cache_rules import CacheRule, holds_packages
from stages.layers.listed_packages import LARGEST_INDEX, ListedPackages, StagePlaces, entry_of
from stages.layers.overlay import overlaid
from stages.layers.store import Store, Workplace
from stages.repositories import package_index
from stages.repositories.package_index import ListedFile, PackageList
from stages.repositories.state import State
from stages.sandbox.view import Cache

PARTIAL = "partial"  # where apt has what it is still downloading
APT_ARCHIVES = "var/cache/apt/archives"
LISTS = "-lists"  # how folders of lists are called, after the cache
SOLVER = "solv"  # in the names of what libsolv made of lists; each says of which
INSTALLED = "@System"  # ... and how those begin that it made of the packages in one tree
PRIVATE = "-private"  # ... and those of files that no list names
NAME_MAX = 255  # bytes of a file name


@dataclass(frozen=True)
class ListsState:
    """Which state of the repositories lists belong to: its ``name``, and the SHA-256 of each ``index`` of it."""

    name: str
    indices: frozenset[str]

    @classmethod
    def of(cls, states: Sequence[State], *more: str) -> ListsState:
        """The state of these repositories; ``more`` is what else the lists hang on (the keys that vouch for them)."""
        digests = frozenset(state.digest for state in states)
        return cls(digest(" ".join([*sorted(digests), *sorted(more)]))[:24], digests)


APT_RULE = CacheRule("apt", f"/{APT_ARCHIVES}", "*.deb")


def shared(store: Store, name: str, arch: str) -> Path:
    """The folder of a cache that all builds share."""
    return store.root / "cache" / name / arch


def kept_package(store: Store, name: str, arch: str, file_name: str, sha256: str) -> Path:
    """Where the package with this SHA-256 is kept in a cache without folders, if it is."""
    entry = entry_of(ListedFile(package_index.cached_name(file_name), "sha256", sha256))
    return shared(store, name, arch) / f"{sha256}-{entry.hex()}-{file_name}"


@dataclass(frozen=True)
class CacheView:
    """What a stage sees of a cache: files of ``lower``, and over them those that it writes itself, in ``upper``."""

    cache: Cache
    rule: CacheRule
    lower: Path
    upper: Path


@dataclass(frozen=True)
class PackageCaches:
    """The package caches as the stages of one build see them. ``writers`` names the scripts that may write there."""

    store: Store
    rules: Sequence[CacheRule]
    arch: str
    state: ListsState
    listed: ListedPackages
    writers: str

    # -- giving ----------------------------------------------------------------------------------------------------

    @contextmanager
    def views(self, rules: Sequence[CacheRule], workplace: Workplace, scratch: Path) -> Iterator[tuple[CacheView, ...]]:
        """Views of these caches for the stage that runs in ``workplace``, mounted below ``scratch`` for as long."""
        with ExitStack() as mounts:
            opened = []
            for rule in rules:
                own, at = workplace.path / "caches" / rule.name, scratch / "caches" / rule.name
                for name in ("lower", "upper", "work"):
                    (own / name).mkdir(parents=True)
                self._fill(rule, own / "lower")
                mounts.enter_context(overlaid(own, at))
                opened.append(CacheView(Cache(rule.name, at, rule.path), rule, own / "lower", own / "upper"))
            yield tuple(opened)

    def _fill(self, rule: CacheRule, lower: Path) -> None:
        if holds_packages(rule):
            self._give_packages(shared(self.store, rule.name, self.arch), lower)
        if rule.lists:
            _give(self._lists(rule), lower, lambda name: _Kept.list(name).name)
        if rule.lists or not holds_packages(rule):
            _give(self._private(rule), lower, lambda name: name)

    def _give_packages(self, kept: Path, lower: Path) -> None:
        """Those packages that this build's repositories list; of two for one place neither is."""
        chosen: dict[str, Path | None] = {}
        for file in _files(kept):
            package = _Kept.package(file.name)
            if package and self.listed.has(package.entry):
                path = str(file.parent.relative_to(kept) / package.name)
                chosen[path] = None if path in chosen else file
        for path, chosen_file in chosen.items():
            if chosen_file:
                _link(chosen_file, lower / path)

    def _lists(self, rule: CacheRule) -> Path:
        return self._pinned(shared(self.store, f"{rule.name}{LISTS}", self.arch) / self.state.name)

    def _private(self, rule: CacheRule) -> Path:
        name = f"{self.writers}-{self.state.name}" if rule.lists else self.writers
        return self._pinned(shared(self.store, f"{rule.name}{PRIVATE}", self.arch) / name)

    def _pinned(self, folder: Path) -> Path:
        self.store.pin(folder.relative_to(self.store.root).as_posix())
        return folder

    # -- keeping ---------------------------------------------------------------------------------------------------

    def keep(self, views: Sequence[CacheView], tree: Path) -> None:
        """Keep what a stage that succeeded, all of whose processes are gone, has added to its views."""
        new = {view.cache.source: list(_files(view.upper)) for view in views}
        if any(holds_packages(view.rule) and new[view.cache.source] for view in views):
            folders = [folder for view in views for folder in (view.upper, view.lower)]
            self.listed.learn(StagePlaces(tree, folders))
        for view in views:
            lists = self._right_lists(view) if view.rule.lists and new[view.cache.source] else {}
            for file in new[view.cache.source]:
                self._keep(view, file, lists)

    def _keep(self, view: CacheView, file: Path, lists: Mapping[Path, Mapping[str, PackageList]]) -> None:
        rule, path = view.rule, file.relative_to(view.upper)
        matches = fnmatch.fnmatchcase(file.name, rule.files)
        if matches and holds_packages(rule):
            if listed_entry := self.listed.entry_of_file(file.name, file):
                entry, sha256 = listed_entry
                kept = f"{sha256}-{entry.hex()}-{file.name}"
                _take(file, shared(self.store, rule.name, self.arch) / path.with_name(kept))
        elif matches:
            _take(file, self._private(rule) / path, plain=False)
        elif rule.lists and lists:
            list_of_file = lists.get(path.parent, {}).get(file.name)
            if list_of_file is not None:
                if _sum(file, list_of_file.algorithm) == list_of_file.digest:
                    _take(file, self._lists(rule) / path.with_name(f"{_sum(file, 'sha256')}-{file.name}"))
            elif _belongs_to_lists(path, lists):
                _take(file, self._private(rule) / path, plain=False)

    def _right_lists(self, view: CacheView) -> dict[Path, dict[str, PackageList]]:
        """The folders whose index is of the plan's state, not of a mirror that moved since, and what it names."""
        lists = {}
        for top in (view.lower, view.upper):
            for file in _files(top):
                if file.name != view.rule.lists or file.stat().st_size > LARGEST_INDEX:
                    continue
                data = file.read_bytes()
                sha256 = digest(data)
                if sha256 in self.state.indices:
                    parts = {part.path: part for part in package_index.repomd_parts(data).values()}
                    parts[file.name] = PackageList(file.name, "sha256", sha256)
                    lists[file.parent.relative_to(top)] = parts
        return lists


def _belongs_to_lists(path: Path, lists: Mapping[Path, object]) -> bool:
    """Is this something that a package tool made of lists, or has beside them: not of the packages in one tree."""
    if any(part.startswith(INSTALLED) for part in path.parts):
        return False
    repositories = {folder.parent for folder in lists}
    if not repositories - {Path()}:
        return False
    return any(SOLVER in part for part in path.parts) or not repositories.isdisjoint(path.parents)


@dataclass(frozen=True)
class _Kept:
    """What the name of a kept file says: its SHA-256, the entry by which it is listed, the name it is given by."""

    sha256: str
    entry: bytes
    name: str

    @classmethod
    def package(cls, name: str) -> _Kept | None:
        match = re.fullmatch(r"([0-9a-f]{64})-([0-9a-f]{32})-(.+)", name)
        return cls(match[1], bytes.fromhex(match[2]), match[3]) if match else None

    @classmethod
    def list(cls, name: str) -> _Kept:
        return cls(name[:64], b"", name[65:])


def _files(folder: Path) -> Iterator[Path]:
    """The regular files below a folder that may be kept: no links, nothing that is only a tool's own."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name != PARTIAL:
                    yield from _files(Path(entry.path))
            elif entry.is_file(follow_symlinks=False) and entry.name != "lock" and not entry.name.endswith(".pid"):
                yield Path(entry.path)


def _give(kept: Path, lower: Path, name: Callable[[str], str]) -> None:
    """Show the files of a folder in the lower one of a view."""
    if not kept.is_dir():
        return
    for file in _files(kept):
        _link(file, lower / file.parent.relative_to(kept) / name(file.name))
    with suppress(FileNotFoundError):
        os.utime(kept)  # the last use, for prune


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # another build has just let go of it
            os.link(file, target)
    except FileExistsError:
        pass


def _sum(file: Path, algorithm: str) -> str:
    with file.open("rb") as data:
        return package_index.file_digest(data, algorithm)


def _take(file: Path, target: Path, *, plain: bool = True) -> None:
    """Put a file at its place in the store, in that of another one; ``plain``: nothing but its content comes along."""
    if len(os.fsencode(target.name)) > NAME_MAX:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if file.stat().st_nlink > 1:
        fresh = file.with_name(f".{digest(file.name)[:16]}")
        shutil.copy2(file, fresh)
        file = fresh
    if plain:
        for name in os.listxattr(file, follow_symlinks=False):
            os.removexattr(file, name, follow_symlinks=False)
        os.chown(file, 0, 0)
    file.chmod(0o644 if plain else file.stat().st_mode & 0o777)
    try:
        file.replace(target)
    except FileNotFoundError:  # another process has just removed the empty folder
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)


def add_lists(views: Sequence[CacheView], lists: Mapping[str, Path]) -> None:
    """Put package lists into the folder ``lists`` of apt's view: a stage takes them and asks no mirror."""
    for view in views:
        if view.rule.name == "apt":
            for path, file in lists.items():
                _link(file, view.lower / "lists" / path)


def verify_cache_files(store: Store) -> list[str]:
    """Remove kept packages and lists that are no longer what was kept; a sentence for each (none: all are)."""
    wrong = []
    for folder in sorted(path for path in (store.root / "cache").iterdir() if path.is_dir()):
        for file in _files(folder):
            match = re.match(r"([0-9a-f]{64})-.", file.name)
            if match and not folder.name.endswith(PRIVATE) and _sum(file, "sha256") != match[1]:
                file.unlink(missing_ok=True)
                name = file.name.rpartition("-")[2] if folder.name.endswith(LISTS) else file.name[98:]
                wrong.append(f"{name} in the cache {folder.name} is not what was kept: it is removed, and comes anew")
    return wrong
