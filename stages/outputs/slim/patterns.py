"""Path patterns of a policy, compiled: which paths of a tree an image leaves out.

``*`` stands for any characters but ``/``, ``?`` for one, ``[abc]`` for one of these, ``**`` for whatever follows. A
pattern that ends in ``/`` means folders only, one that ends in ``@`` symbolic links only.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_SPECIAL = re.compile(r"\*\*|\*|\?|\[!?[^]/]+\]|[^*?\[]+|\[")


def _expression(pattern: str) -> str:
    words = {"**": ".+", "*": "[^/]*", "?": "[^/]"}

    def translated(part: str) -> str:
        if part.startswith("[") and len(part) > 1:
            return "[" + ("^" if part[1] == "!" else "") + re.escape(part[1:-1].removeprefix("!")) + "]"
        return words.get(part) or re.escape(part)

    return "".join(translated(part) for part in _SPECIAL.findall(pattern))


def _compiled(patterns: Iterable[str]) -> re.Pattern[bytes] | None:
    expressions = [_expression(pattern.lstrip("/")) for pattern in patterns]
    if not expressions:
        return None
    return re.compile(b"(?:" + b"|".join(text.encode() for text in expressions) + rb")\Z", re.DOTALL)


def _prefixes(pattern: str) -> list[str]:
    """Patterns of the folders on the way to what ``pattern`` means: ``a/*/c`` -> ``a``, ``a/*``."""
    parts = pattern.lstrip("/").rstrip("@/").split("/")
    prefixes = []
    for index, part in enumerate(parts):
        if index:
            prefixes.append("/".join(parts[:index]))
        if "**" in part:
            prefixes.append("/".join(parts[: index + 1]))  # and all folders below
    return prefixes


@dataclass(frozen=True)
class _Kinds:
    """Patterns sorted by the kind of file that they mean."""

    any: re.Pattern[bytes] | None
    folders: re.Pattern[bytes] | None
    links: re.Pattern[bytes] | None

    @classmethod
    def of(cls, patterns: Sequence[str]) -> _Kinds:
        folders = [text[:-1] for text in patterns if text.endswith("/")]
        links = [text[:-1] for text in patterns if text.endswith("@")]
        return cls(_compiled(text for text in patterns if text[-1:] not in "/@"), _compiled(folders), _compiled(links))

    def match(self, name: bytes, mode: int) -> bool:
        if self.any and self.any.match(name):
            return True
        special = self.folders if stat.S_ISDIR(mode) else self.links if stat.S_ISLNK(mode) else None
        return bool(special and special.match(name))


class Selection:
    """What is left out of a tree: all that a ``drop`` pattern means and no ``keep`` pattern."""

    def __init__(self, drop: Sequence[str] = (), keep: Sequence[str] = ()) -> None:
        self._drop, self._keep = _Kinds.of(drop), _Kinds.of(keep)
        self._way = _compiled(prefix for pattern in keep for prefix in _prefixes(pattern))
        self.empty = not drop

    def drops(self, name: bytes, mode: int) -> bool:
        """Is the file ``name`` (relative to the root, with ``mode`` as lstat says it) left out?

        A folder that is dropped stays nevertheless where something in it is kept: see :meth:`leads_to_kept`.
        """
        return not self.empty and self._drop.match(name, mode) and not self._keep.match(name, mode)

    def leads_to_kept(self, name: bytes) -> bool:
        """Could something below the folder ``name`` be kept by a ``keep`` pattern?"""
        return bool(self._way and self._way.match(name))
