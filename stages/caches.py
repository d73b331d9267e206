"""Package caches: what one stage downloads, later stages and builds find; never part of a layer or a key.

The shared folder of a cache is ``cache/<name>/<arch>`` in the store. A stage gets a view of its own, with hard
links into it, so that builds never meet there and a killed one leaves nothing half-made.
"""

from __future__ import annotations

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
APT_ARCHIVES = "var/cache/apt/archives"


@dataclass(frozen=True)
class CacheRule:
    """A package cache that an element declares in ``caches.yaml``."""

    name: str
    path: str


def parse_cache_rules(text: str, file: str) -> tuple[CacheRule, ...]:
    """The caches of one ``caches.yaml``, a list of maps with ``name`` and ``path``; UsageError with file and line."""
    document = located.read(text, file)
    entries = [] if document.data is None else document.data
    if not isinstance(entries, list):
        document.refuse("this is no list of caches", hint="expected: - {name: NAME, path: PATH}")
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict) or set(entry) != {"name", "path"}:
            document.refuse("a cache has a name and a path, and nothing else", index)
        if "/" in str(entry["name"]) or not str(entry["name"]).strip("."):
            document.refuse(f"{entry['name']!r} cannot name a cache: it becomes a folder's name", index, "name")
    return tuple(CacheRule(str(entry["name"]), str(entry["path"])) for entry in entries)


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
        for file in kept.iterdir():
            if file.is_file():
                os.link(file, view / file.name)
        opened.append(Cache(rule.name, view, rule.path))
    return tuple(opened)


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
    for file in source.iterdir():
        if file.is_file():
            os.link(file, view / file.name)
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


def keep_new(store: Store, arch: str, views: Sequence[Cache]) -> None:
    """Keep the files that a stage which succeeded has added to its views."""
    for view in views:
        kept = view.keep or shared(store, view.name, arch)
        if kept == view.source:
            continue
        for file in view.source.iterdir():
            if file.is_file() and not file.is_symlink() and file.name != "lock":
                with suppress(FileExistsError):
                    os.link(file, kept / file.name)
