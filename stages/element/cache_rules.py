"""Package caches that elements declare in ``caches.yaml``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blockdev.core import yaml_document
from blockdev.core.errors import UsageError

FILE = "caches.yaml"
PACKAGES = (".deb", ".rpm", ".apk")
PACMAN_PACKAGE = ".pkg.tar."
OWN_NAMES = r"\..*|given$|listed$|image-cache|.*-(lists|private)$"  # what else lies beside the caches


@dataclass(frozen=True)
class CacheRule:
    """A package cache that an element declares in ``caches.yaml``; of its files those whose names match are kept.

    ``lists`` is the name of the signed index in the folders of package lists that lie in the cache, too.
    """

    name: str
    path: str
    files: str = "*"
    lists: str = ""


def parse_cache_rules(text: str, file: str) -> tuple[CacheRule, ...]:
    """The caches of one ``caches.yaml``: a list of maps with ``name``, ``path`` and perhaps ``files`` (a pattern).

    Raises UsageError with file and line.
    """
    document = yaml_document.read(text, file)
    entries = [] if document.data is None else document.data
    if not isinstance(entries, list):
        document.refuse("this is no list of caches", hint="expected: - {name: NAME, path: PATH}")
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict) or set(entry) - {"files", "lists"} != {"name", "path"}:
            allowed = "a name and a path, perhaps a pattern for its files and the name of its lists' index"
            document.refuse(f"a cache has {allowed}, and nothing else", index)
        if "/" in str(entry["name"]) or not str(entry["name"]).strip("."):
            document.refuse(f"{entry['name']!r} cannot name a cache: it becomes a folder's name", index, "name")
        if re.match(OWN_NAMES, str(entry["name"])):
            document.refuse(f"{entry['name']!r} is the name of a cache of another kind", index, "name")
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


def holds_packages(rule: CacheRule) -> bool:
    """Are the files of a cache those of packages, which repositories list: no other one is kept."""
    return rule.files.endswith(PACKAGES) or PACMAN_PACKAGE in rule.files
