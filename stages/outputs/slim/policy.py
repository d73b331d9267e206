"""Policies: what an image of one family of distributions leaves out, read from YAML and checked.

A policy has ``packaged`` (what packages bring) and ``leftover`` (what use leaves behind), each with lists of patterns,
``drop`` and ``keep`` (see :mod:`stages.outputs.slim.patterns`), and ``leftover`` with ``empty``: files that lose their
content; ``files`` and ``append``: texts by path, for the rules that keep later installs slim; ``dpkg``: the file that
takes the ``packaged`` rules in dpkg's words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from blockdev.core import yaml_document
from blockdev.core.errors import UsageError
from blockdev.core.yaml_document import Document

FOLDER = Path(__file__).parent / "policies"
OTHER = "other"
_SECTIONS = {"packaged": ("drop", "keep"), "leftover": ("drop", "keep", "empty")}
_TEXTS = ("files", "append")
_KEYS = ("families", *_SECTIONS, *_TEXTS, "dpkg")


@dataclass(frozen=True)
class Policy:
    """One policy; ``name`` is that of its file."""

    name: str
    families: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    append: Mapping[str, str] = field(default_factory=dict)


def _patterns(document: Document, section: str, name: str) -> tuple[str, ...]:
    data = (document.data.get(section) or {}).get(name, [])
    if not isinstance(data, list):
        document.refuse(f"{name} is no list", section, name, hint="write one pattern a line: - /usr/share/doc/**")
    for index, pattern in enumerate(data):
        if not isinstance(pattern, str) or not pattern.startswith(("/", "**")):
            document.refuse(
                f"{pattern!r} is no pattern", section, name, index, hint="a pattern begins with / or with **"
            )
    return tuple(data)


def _texts(document: Document, name: str) -> dict[str, str]:
    data = document.data.get(name, {})
    if not isinstance(data, dict):
        document.refuse(f"{name} is no mapping of paths to texts", name)
    for path, text in data.items():
        if not isinstance(path, str) or not path.startswith("/") or ".." in path.split("/"):
            document.refuse(f"{path!r} is no path in an image", name, path, hint="a path begins with /")
        if not isinstance(text, str):
            document.refuse(f"what {path} is to hold is no text", name, path, hint="write it as a block: |")
    return dict(data)


def _check_keys(document: Document, data: Any, keys: tuple[str, ...], *path: str) -> None:
    if not isinstance(data, dict):
        document.refuse(f"{' '.join(path) or 'a policy'} is no mapping", *path, hint=f"it has {', '.join(keys)}")
    for key in data:
        if key not in keys:
            document.refuse(f"a policy has no {key!r}", *path, key, hint=f"it has {', '.join(keys)}")


def dpkg_rules(drop: tuple[str, ...], keep: tuple[str, ...]) -> str:
    """Patterns as dpkg has them in its configuration (dpkg(1), path-exclude): there ``*`` stands for ``/`` too."""
    lines = [f"path-exclude={_for_dpkg(pattern)}" for pattern in drop]
    # dpkg goes by the path alone: which of them is a link it does not ask.
    lines += [f"path-include={_for_dpkg(pattern)}" for pattern in keep if not pattern.endswith("@")]
    return "# What this image leaves out, and later installs too.\n" + "".join(f"{line}\n" for line in lines)


def _for_dpkg(pattern: str) -> str:
    while "**" in pattern:
        pattern = pattern.replace("**", "*")
    return pattern.rstrip("/")


def parse(text: str, name: str, file: str) -> Policy:
    """Read a policy; UsageError with ``file`` and line for what is wrong with it."""
    document = yaml_document.read(text, file)
    if document.data is None:
        document.refuse("the policy is empty", hint=f"it has {', '.join(_KEYS)}; /** of nothing is --no-slim")
    _check_keys(document, document.data, _KEYS)
    for section, keys in _SECTIONS.items():
        _check_keys(document, document.data.get(section) or {}, keys, section)
    families = document.data.get("families", [])
    if not isinstance(families, list) or not all(isinstance(family, str) for family in families):
        document.refuse("families is no list of names", "families")
    drop, keep = _patterns(document, "packaged", "drop"), _patterns(document, "packaged", "keep")
    files = _texts(document, "files")
    dpkg = document.data.get("dpkg", "")
    if dpkg:
        if not isinstance(dpkg, str) or not dpkg.startswith("/"):
            document.refuse(f"{dpkg!r} is no path in an image", "dpkg", hint="a path begins with /")
        files[dpkg] = dpkg_rules(drop, keep)
    return Policy(
        name,
        tuple(families),
        (*drop, *_patterns(document, "leftover", "drop")),
        (*keep, *_patterns(document, "leftover", "keep")),
        _patterns(document, "leftover", "empty"),
        files,
        _texts(document, "append"),
    )


def names() -> tuple[str, ...]:
    """The policies that come with dib-ctr."""
    return tuple(sorted(file.stem for file in FOLDER.glob("*.yaml")))


@cache
def text_of(name: str) -> str:
    """The text of a policy that comes with dib-ctr."""
    return (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def find(os_release: Mapping[str, str]) -> Policy:
    """The policy of the family that os-release(5) names: ID first, then ID_LIKE in its order."""
    policies = [parse(text_of(name), name, name) for name in names()]
    for identity in (os_release.get("ID", ""), *os_release.get("ID_LIKE", "").split()):
        for policy in policies:
            if any(identity == family or identity.startswith(f"{family}-") for family in policy.families):
                return policy
    return next(policy for policy in policies if policy.name == OTHER)


def read(word: str) -> str:
    """The text of the policy that the user named: one that comes with dib-ctr, or a file. Checked; UsageError."""
    if word in names():
        return text_of(word)
    file = Path(word)
    if "/" not in word and not file.is_file():
        raise UsageError(
            f"there is no slim policy {word!r}", hint=f"there is {', '.join(names())}; or name a YAML file"
        )
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise UsageError(f"the slim policy cannot be read: {reason}", where=word) from error
    parse(text, file.stem, word)
    return text
