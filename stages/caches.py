"""Package caches: what one stage downloads, later stages and builds find; never part of a layer or a key.

The shared folder of a cache is ``cache/<name>/<arch>`` in the store. A stage gets a view of its own, with hard
links into it, so that builds never meet there and a killed one leaves nothing half-made.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stages import located
from stages.errors import UsageError
from stages.keptmounts import KeptMount
from stages.sandbox import Cache
from stages.store import Store, Workplace

FILE = "caches.yaml"
PARTIAL = "partial"  # where apt has what it is still downloading
APT_ARCHIVES = "var/cache/apt/archives"


@dataclass(frozen=True)
class CacheRule:
    """A package cache that an element declares in ``caches.yaml``; of its files those whose names match are kept."""

    name: str
    path: str
    files: str = "*"


def parse_cache_rules(text: str, file: str) -> tuple[CacheRule, ...]:
    """The caches of one ``caches.yaml``: a list of maps with ``name``, ``path`` and perhaps ``files`` (a pattern).

    Raises UsageError with file and line.
    """
    document = located.read(text, file)
    entries = [] if document.data is None else document.data
    if not isinstance(entries, list):
        document.refuse("this is no list of caches", hint="expected: - {name: NAME, path: PATH}")
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict) or set(entry) - {"files"} != {"name", "path"}:
            document.refuse("a cache has a name and a path, perhaps a pattern for its files, and nothing else", index)
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


def open_views(store: Store, rules: Sequence[CacheRule], arch: str, place: Workplace) -> tuple[Cache, ...]:
    """A view of each cache for the stage that runs in ``place``, with links to all files that are there now."""
    opened = []
    for rule in rules:
        kept, view = shared(store, rule.name, arch), place.path / f"cache-{rule.name}"
        kept.mkdir(parents=True, exist_ok=True)
        view.mkdir()
        _link(kept, view)
        opened.append(Cache(rule.name, view, rule.path))
    return tuple(opened)


def _link(source: Path, place: Path, pattern: str = "*") -> None:
    """Link the files below ``source`` whose names match into ``place``, where they are not there; folders are made."""
    for folder, below, names in os.walk(source):
        below[:] = [name for name in below if name != PARTIAL]
        for name in names:
            file = Path(folder, name)
            if name == "lock" or file.is_symlink() or not file.is_file() or not fnmatch.fnmatchcase(name, pattern):
                continue
            wanted = place / file.relative_to(source)
            wanted.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                os.link(file, wanted)


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
    _link(source, view)
    return Cache("", view, mount.place, source)


def add_lists(views: Sequence[Cache], lists: Mapping[str, Path]) -> None:
    """Put package lists into the folder ``lists`` of apt's view: a stage takes them and asks no mirror."""
    for view in views:
        if view.name != "apt":
            continue
        for path, file in lists.items():
            place = view.source / "lists" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, place)


def keep_new(store: Store, rules: Sequence[CacheRule], arch: str, views: Sequence[Cache]) -> None:
    """Keep the files that a stage which succeeded has added to its views, those of declared caches by their pattern."""
    patterns = {rule.name: rule.files for rule in rules}
    for view in views:
        kept = view.keep or shared(store, view.name, arch)
        if kept != view.source:
            _link(view.source, kept, patterns.get(view.name, "*"))
