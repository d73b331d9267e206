"""The facts of one release for one architecture, as variables that elements' ``environment.d`` snippets read.

A fact of the table is a text, a list of texts, or a mapping of such (``rpm: {path: ...}``). A mapping with the key
``others`` has a value for each architecture (Debian's names) that is not like the others. In texts stand ``@RELEASE@``
(DIB_RELEASE in full), ``@NUMBER@`` (without what may be left out), ``@MAJOR@`` (of a number its first part) and
``@ARCH@`` (the distribution's own name, or Debian's, where it is made for none of that name), and what else an
architecture is called (``@PORT@``).

The variables are ``DIB_FACT_`` and the fact's name, lists with blanks between. Some facts have a form of their own:

- ``repositories``, a mapping for each (``name``, ``path`` below a mirror, perhaps ``metalink`` or ``mirrorlist``), give
  ``DIB_FACT_REPOSITORIES``, the names, ``DIB_FACT_LAYOUT``, a line ``NAME PATH`` each, and ``DIB_FACT_LISTS``, a line
  ``NAME metalink=ADDRESS`` each, or ``NAME mirrorlist=ADDRESS PATH``, with ``basearch=ARCH`` at its end where the
  list leaves that to be filled in;
- ``key-files`` are named from the folder of the package distribution-gpg-keys on;
- ``keys`` (fingerprints, and their ends), ``key-neighbours`` (more files that have them) and ``archive`` (where ended
  releases are served) give none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.distributions.table import Distribution, Release

PREFIX = "DIB_FACT_"
OTHERS = "others"
KEYS = "keys"  # a release's take the place of the distribution's, all of them
KEY_FILES = "key-files"
KEYS_FOLDER = Path("/usr/share/distribution-gpg-keys")
_FOR_CHECKS = (KEYS, "key-neighbours", "archive")


def merged(distribution: Distribution, release: Release | None) -> dict[str, Any]:
    """The facts of a release, with those of the distribution where it has no other; None: of one that nobody knows."""
    return _over(distribution.facts, release.facts if release else {})


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        lower = merged.get(name)
        merged[name] = value
        if (
            isinstance(lower, Mapping)
            and isinstance(value, Mapping)
            and name != KEYS
            and OTHERS not in (*lower, *value)
        ):
            merged[name] = _over(lower, value)
    return merged


def of_architecture(value: Any, arch: str) -> Any:
    """What a fact is for an architecture (Debian's name): of mappings with a value for each the right one."""
    if isinstance(value, Mapping):
        if OTHERS in value:
            return of_architecture(value.get(arch, value[OTHERS]), arch)
        return {name: of_architecture(each, arch) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [of_architecture(each, arch) for each in value]
    return value


def words(distribution: Distribution, release: str, arch: str) -> dict[str, str]:
    """What stands in facts between two ``@``, with its value."""
    full = distribution.full(release)
    number = full.removeprefix(distribution.prefix).removesuffix(distribution.suffix)
    called = distribution.architectures.get(arch, "")
    called = dict(called) if isinstance(called, Mapping) else {"name": called}
    own = called.pop("name", "") or arch
    result = {"RELEASE": full, "NUMBER": number, "MAJOR": number.partition(".")[0], "ARCH": own}
    return {**result, **{name.upper(): str(value) for name, value in called.items()}}


def filled(value: Any, words: Mapping[str, str]) -> Any:
    """A fact with its words in their places; of a word that is not known nothing is left."""
    if isinstance(value, str):
        return re.sub(r"@([A-Z0-9]+)@", lambda match: words.get(match[1], ""), value)
    if isinstance(value, Mapping):
        return {name: filled(each, words) for name, each in value.items()}
    if isinstance(value, Sequence):
        return [filled(each, words) for each in value]
    return value


def of_release(distribution: Distribution, release: str, arch: str) -> dict[str, Any]:
    """The facts of a release (DIB_RELEASE, a name that need not be known) for an architecture, filled in."""
    facts = of_architecture(merged(distribution, distribution.find(release)), arch)
    by_name = words(distribution, release, arch)
    return {name: filled(value, by_name) for name, value in facts.items()}


def variables(distribution: Distribution, release: str, arch: str) -> dict[str, str]:
    """The variables of a release for an architecture (Debian's name)."""
    by_name = words(distribution, release, arch)
    result = {
        f"{PREFIX}NUMBER": by_name["NUMBER"],
        f"{PREFIX}ARCHITECTURE": by_name.pop("ARCH") if arch in distribution.architectures else "",
        **{f"{PREFIX}ARCHITECTURE_{name}": value for name, value in by_name.items() if name not in _OF_RELEASE},
    }
    for name, value in of_release(distribution, release, arch).items():
        if name == "repositories":
            names = " ".join(each["name"] for each in value)
            result |= {
                f"{PREFIX}REPOSITORIES": names,
                f"{PREFIX}LAYOUT": _layout(value),
                f"{PREFIX}LISTS": _lists(value),
            }
        elif name == KEY_FILES:
            result[f"{PREFIX}KEY_FILES"] = " ".join(str(KEYS_FOLDER / each) for each in value)
        elif name not in _FOR_CHECKS:
            result |= dict(_flattened(PREFIX + _upper(name), value))
    return result


_OF_RELEASE = ("RELEASE", "NUMBER", "MAJOR")


def _upper(name: str) -> str:
    return name.upper().replace("-", "_")


def _flattened(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for inner, each in value.items():
            yield from _flattened(f"{name}_{_upper(inner)}", each)
    elif isinstance(value, str):
        yield name, value
    else:
        yield name, " ".join(map(str, value))


def _layout(repositories: Sequence[Mapping[str, str]]) -> str:
    return "\n".join(f"{each['name']} {each['path']}" for each in repositories)


def _lists(repositories: Sequence[Mapping[str, str]]) -> str:
    lines = []
    for each in repositories:
        if "metalink" in each:
            lines.append(f"{each['name']} metalink={each['metalink']}")
        elif "mirrorlist" in each:
            left = f" basearch={each['basearch']}" if "basearch" in each else ""
            lines.append(f"{each['name']} mirrorlist={each['mirrorlist']} repodata/repomd.xml{left}")
    return "\n".join(lines)
