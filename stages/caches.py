"""Package caches: what one stage downloads, later stages and builds find; never part of a layer or a key.

The shared folder of a cache is ``cache/<name>/<arch>`` in the store. A stage gets a view of its own, with hard
links into it, so that builds never meet there and a killed one leaves nothing half-made. What a failed stage downloaded
is not kept, and neither is a shared file that a stage wrote into.

Lists of packages are kept apart, in ``cache/<name>-lists/<arch>/<state>``: those of one state of the repositories
serve the stages of all builds from that state, and nobody else.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stages import located
from stages.errors import UsageError
from stages.keptmounts import KeptMount
from stages.key import digest
from stages.repositories import State
from stages.sandbox import Cache
from stages.store import Store, Workplace

FILE = "caches.yaml"
PARTIAL = "partial"  # where apt has what it is still downloading
APT_ARCHIVES = "var/cache/apt/archives"
LISTS = "-lists"  # how folders of lists are called, after the cache
SOLVER = "solv"  # in the names of what libsolv made of lists; each says of which
INSTALLED = "@System"  # ... and how those begin that it made of the packages in one tree
_Seen = tuple[int, int, int]


@dataclass(frozen=True)
class CacheRule:
    """A package cache that an element declares in ``caches.yaml``; of its files those whose names match are kept.

    ``lists`` is the name of the signed index in the folders of package lists that lie in the cache, too.
    """

    name: str
    path: str
    files: str = "*"
    lists: str = ""


@dataclass(frozen=True)
class ListsState:
    """Which state of the repositories lists belong to: its ``name``, and the SHA-256 of each ``index`` of it."""

    name: str
    indices: frozenset[str]

    @classmethod
    def of(cls, states: Sequence[State], *more: str) -> ListsState:
        """The state of these repositories; ``more`` is what else the lists hang on (the keys that vouch for them)."""
        found = frozenset(state.digest for state in states)
        return cls(digest(" ".join([*sorted(found), *sorted(more)]))[:24], found)


def parse_cache_rules(text: str, file: str) -> tuple[CacheRule, ...]:
    """The caches of one ``caches.yaml``: a list of maps with ``name``, ``path`` and perhaps ``files`` (a pattern).

    Raises UsageError with file and line.
    """
    document = located.read(text, file)
    entries = [] if document.data is None else document.data
    if not isinstance(entries, list):
        document.refuse("this is no list of caches", hint="expected: - {name: NAME, path: PATH}")
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict) or set(entry) - {"files", "lists"} != {"name", "path"}:
            allowed = "a name and a path, perhaps a pattern for its files and the name of its lists' index"
            document.refuse(f"a cache has {allowed}, and nothing else", index)
        if "/" in str(entry["name"]) or not str(entry["name"]).strip("."):
            document.refuse(f"{entry['name']!r} cannot name a cache: it becomes a folder's name", index, "name")
    return tuple(CacheRule(**{key: str(value) for key, value in entry.items()}) for entry in entries)


def read_cache_rules(elements: Sequence[tuple[str, Path]]) -> tuple[CacheRule, ...]:
    """The caches that the elements declare; raises UsageError naming file and line of a malformed one."""
    rules: dict[str, CacheRule] = {}
    for _, folder in elements:
        file = folder / FILE
        if not file.is_file():
            continue
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"this list of caches cannot be read: {error}", where=str(file)) from error
        rules.update({rule.name: rule for rule in parse_cache_rules(text, str(file))})
    return tuple(rules[name] for name in sorted(rules))


def shared(store: Store, name: str, arch: str) -> Path:
    """The folder of a cache that all builds share."""
    return store.root / "cache" / name / arch


def lists_folder(store: Store, rule: CacheRule, arch: str, state: ListsState) -> Path:
    """The folder of a cache's lists of one state of the repositories."""
    return store.root / "cache" / f"{rule.name}{LISTS}" / arch / state.name


def open_views(
    store: Store, rules: Sequence[CacheRule], arch: str, state: ListsState, place: Workplace
) -> tuple[Cache, ...]:
    """A view of each cache for the stage that runs in ``place``, with links to all files that are there now."""
    opened = []
    for rule in rules:
        kept, view = shared(store, rule.name, arch), place.path / f"cache-{rule.name}"
        kept.mkdir(parents=True, exist_ok=True)
        view.mkdir()
        linked = _link(kept, view)
        if rule.lists and (lists := lists_folder(store, rule, arch, state)).is_dir():
            linked.update(_link(lists, view))
            os.utime(lists)  # the last use, for prune
        opened.append(Cache(rule.name, view, rule.path, linked=linked))
    return tuple(opened)


def _files(folder: Path) -> Iterator[Path]:
    """The regular files below a folder that may be shared."""
    for place, below, names in os.walk(folder):
        below[:] = [name for name in below if name != PARTIAL]
        for name in names:
            file = Path(place, name)
            if name != "lock" and not name.endswith(".pid") and not file.is_symlink() and file.is_file():
                yield file


def _link(source: Path, place: Path, wanted: Callable[[Path], bool] = lambda file: True) -> dict[Path, _Seen]:
    """Link the wanted files below ``source`` into ``place``, in the place of others of their names; folders are made.

    Returns the files of ``source`` as they are.
    """
    seen = {}
    for file in _files(source):
        if not wanted(file):
            continue
        target = place / file.relative_to(source)
        with suppress(FileNotFoundError):  # another build has just let go of it
            state = file.stat()
            seen[file] = (state.st_ino, state.st_size, state.st_mtime_ns)
            _link_one(file, target)
    return seen


def _link_one(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file, target)
    except FileExistsError:
        if not file.samefile(target):
            fresh = target.with_name(f".{target.name}.{os.getpid()}-{threading.get_ident()}")
            os.link(file, fresh)
            fresh.replace(target)


def open_kept(cache: Path, mount: KeptMount, place: Workplace) -> Cache:
    """The cache that an earlier script bound over a place in the tree, for a later stage.

    apt's packages get a view of their own, as others: two builds cannot lock one folder of them at a time.
    """
    source = cache / mount.source
    source.mkdir(parents=True, exist_ok=True)
    if mount.place != APT_ARCHIVES:
        return Cache("", source, mount.place, source)
    view = place.path / "cache-kept-apt"
    view.mkdir()
    return Cache("", view, mount.place, source, linked=_link(source, view))


def add_lists(views: Sequence[Cache], lists: Mapping[str, Path]) -> None:
    """Put package lists into the folder ``lists`` of apt's view: a stage takes them and asks no mirror."""
    for view in views:
        if view.name != "apt":
            continue
        for path, file in lists.items():
            place = view.source / "lists" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, place)


def let_go_of_changed(views: Sequence[Cache]) -> None:
    """Remove shared files that a stage wrote into through its view: a failed download may have left anything there."""
    for view in views:
        for file, seen in view.linked.items():
            with suppress(FileNotFoundError):
                state = file.stat()
                if state.st_ino == seen[0] and (state.st_size, state.st_mtime_ns) != seen[1:]:
                    file.unlink()


def keep_new(store: Store, rules: Sequence[CacheRule], arch: str, state: ListsState, views: Sequence[Cache]) -> None:
    """Keep what a stage that succeeded has added to its views: of declared caches files by their pattern, and lists."""
    known = {rule.name: rule for rule in rules}
    for view in views:
        kept = view.keep or shared(store, view.name, arch)
        if kept == view.source:
            continue
        rule = known.get(view.name, CacheRule("", ""))
        _link(view.source, kept, lambda file, rule=rule: fnmatch.fnmatchcase(file.name, rule.files))  # type: ignore[misc]
        if rule.lists:
            _keep_lists(rule, view, lists_folder(store, rule, arch, state), state)


def _keep_lists(rule: CacheRule, view: Cache, kept: Path, state: ListsState) -> None:
    """Keep the lists whose index is of this state, not of a mirror that moved since, and what tools made of them."""
    folders = {
        file.parent.parent
        for file in _files(view.source)
        if file.name == rule.lists and hashlib.sha256(file.read_bytes()).hexdigest() in state.indices
    }

    def wanted(file: Path) -> bool:
        if fnmatch.fnmatchcase(file.name, rule.files):
            return False
        parts = file.relative_to(view.source).parts
        if any(part.startswith(INSTALLED) for part in parts):
            return False
        made = any(SOLVER in part for part in parts)
        return made or not folders.isdisjoint(file.parents)

    if folders - {view.source}:
        _link(view.source, kept, wanted)
