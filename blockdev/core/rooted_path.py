"""Where a path of a tree leads when the tree is the root: links never lead out of it."""

from __future__ import annotations

import stat
from pathlib import Path

_MOST_LINKS = 40  # as many as Linux follows


def is_regular(path: Path | None) -> bool:
    """Is there a regular file, and neither a link to one nor a pipe, which a reader would wait for."""
    try:
        return path is not None and stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Is there a folder, and no link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def inside(tree: Path, path: str) -> Path | None:
    """Where ``path`` of the tree leads, without a link left on the way; None where it leads nowhere."""
    pending, at, links = list(reversed(path.split("/"))), tree, 0
    while pending:
        name = pending.pop()
        if name in ("", "."):
            continue
        if name == "..":
            at = at if at == tree else at.parent
            continue
        try:
            target = (at / name).readlink() if (at / name).is_symlink() else None
        except OSError:
            return None
        if target is None:
            at /= name
            continue
        links += 1
        if links > _MOST_LINKS:
            return None
        at = tree if target.is_absolute() else at
        pending.extend(reversed(target.parts[1:] if target.is_absolute() else target.parts))
    return at
