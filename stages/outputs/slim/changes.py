"""What an output changes in the tree that it is made of: paths left out, files with another content.

Made once from a policy and a mounted tree; exporters only apply it. The tree itself stays as it is, for other outputs.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from blockdev.tree.selinux import Labels, labels_of
from stages.outputs.slim.patterns import Selection
from stages.outputs.slim.policy import Policy


@dataclass(frozen=True)
class Finish:
    """``selection`` says what is left out; ``contents`` are files by path (relative), as they are to be in the output.

    A file of ``contents`` that the tree has keeps owner and mode; a new one is root's with mode 0644, as are folders
    on the way to it (0755). ``labels`` are the SELinux labels that all of it gets.
    """

    selection: Selection = field(default_factory=Selection)
    contents: Mapping[bytes, bytes] = field(default_factory=dict)
    labels: Labels | None = None


NOTHING = Finish()


def _inside(tree: Path, name: str) -> Path | None:
    """The path of ``name`` in the tree, or None where a folder on the way is a link or no folder: never out of it."""
    path = tree
    for part in Path(name.lstrip("/")).parts[:-1]:
        path = path / part
        try:
            if not stat.S_ISDIR(path.lstat().st_mode):
                return None
        except FileNotFoundError:
            break
    return tree / name.lstrip("/")


def _free(path: Path | None) -> bool:
    """Can a file be written there: nothing is there, or a file."""
    return path is not None and (_regular(path) or not os.path.lexists(path))


def _regular(path: Path | None) -> bool:
    try:
        return path is not None and stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _files_below(tree: Path, folder: Path) -> Iterator[tuple[bytes, int, int]]:
    for directory, _, names in os.walk(folder):
        for name in names:
            state = os.lstat(f"{directory}/{name}")
            yield os.fsencode(os.path.relpath(f"{directory}/{name}", tree)), state.st_mode, state.st_size


def _emptied(tree: Path, patterns: tuple[str, ...], selection: Selection) -> Iterator[bytes]:
    """The files that stay without their content."""
    for pattern in patterns:
        fixed = pattern.lstrip("/").split("*")[0].rpartition("/")[0]
        chosen = Selection((pattern,))
        if "*" not in pattern:
            path = _inside(tree, pattern)
            if path is not None and _regular(path) and path.stat().st_size:
                yield os.fsencode(pattern.lstrip("/"))
            continue
        inside = _inside(tree, f"{fixed}/any")
        if inside is None or not inside.parent.is_dir():
            continue
        for name, mode, size in _files_below(tree, inside.parent):
            if size and stat.S_ISREG(mode) and chosen.drops(name, mode) and not selection.drops(name, mode):
                yield name


def finish(tree: Path, policy: Policy, more: Mapping[str, bytes]) -> Finish:
    """What ``policy`` comes to for ``tree``, with the files ``more`` (by absolute path) added to it."""
    selection = Selection(policy.drop, policy.keep)
    contents: dict[bytes, bytes] = dict.fromkeys(_emptied(tree, policy.empty, selection), b"")
    for name, text in policy.files.items():
        if _free(_inside(tree, name)):
            contents[os.fsencode(name.lstrip("/"))] = text.encode()
    for name, text in policy.append.items():
        path = _inside(tree, name)
        if path is not None and _regular(path):
            old = path.read_bytes()
            if text.encode() not in old:
                ending = b"" if not old or old.endswith(b"\n") else b"\n"
                contents[os.fsencode(name.lstrip("/"))] = old + ending + text.encode()
    for name, data in more.items():
        if _free(_inside(tree, name)):
            contents[os.fsencode(name.lstrip("/"))] = data
    return Finish(selection, contents, labels_of(tree))


def apply(tree: Path, changed: Finish) -> None:
    """Make of ``tree`` what exporters would make of it; a folder on the way to something kept stays."""
    if not changed.selection.empty:
        _remove(tree, b"", changed.selection)
    for path, data in changed.contents.items():
        target = tree / os.fsdecode(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_file():  # owner and mode stay
            target.write_bytes(data)
        else:
            target.write_bytes(data)
            target.chmod(0o644)


def _remove(folder: Path, prefix: bytes, selection: Selection) -> bool:
    """Remove what is left out of ``folder``, whose own name ends ``prefix``. Returns whether anything is left in it."""
    left = False
    for path in sorted(folder.iterdir()):
        name = prefix + os.fsencode(path.name)
        mode = path.lstat().st_mode
        dropped = selection.drops(name, mode)
        if stat.S_ISDIR(mode):
            if dropped and not selection.leads_to_kept(name):
                shutil.rmtree(path)
            elif not _remove(path, name + b"/", selection) and dropped:
                path.rmdir()
            else:
                left = True
        elif dropped:
            path.unlink()
        else:
            left = True
    return left
