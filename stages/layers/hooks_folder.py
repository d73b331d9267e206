"""The folder of hooks that a stage sees: its own files, and what earlier outside scripts wrote into theirs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePath

from blockdev.core import rooted_path
from stages.element.hooks import PHASES, HookFile


def write_hooks(files: Mapping[str, HookFile], folder: Path) -> Path:
    """Write just these files below ``folder``, in which every phase has its folder, and return it."""
    for phase in PHASES:
        (folder / phase.folder).mkdir(parents=True, exist_ok=True)
    folders = {folder}
    for path, hook in files.items():
        file = folder / path
        if file.parent not in folders:
            _make_folder(folder, file.parent)
        folders.add(file.parent)
        if hook.target:
            file.symlink_to(hook.target)
        else:
            file.write_bytes(hook.data)
            file.chmod(hook.mode)
    return folder


def _make_folder(folder: Path, target: Path) -> None:
    """Make a folder below ``folder``, in the place of a link that another element has there."""
    for each in (*reversed(target.relative_to(folder).parents), target.relative_to(folder)):
        if (folder / each).is_symlink():
            (folder / each).unlink()
        (folder / each).mkdir(exist_ok=True)


def add_earlier(earlier: Path, folder: Path) -> None:
    """Put what outside scripts have written (``earlier``) into a stage's folder, over files of the same name.

    A link stays away where the stage has a file of that name and not the one that the link leads to: that is how
    diskimage-builder's install types enable a script, and the stage of this script sees it without them.
    """
    links = []
    for directory, folders, names in os.walk(earlier):
        here = folder / Path(directory).relative_to(earlier)
        if not rooted_path.is_folder(here):  # a link that leads anywhere, a file; the script has made a folder of it
            here.unlink(missing_ok=True)
            here.mkdir()
        for name in (
            *names,
            *(name_of_folder for name_of_folder in folders if Path(directory, name_of_folder).is_symlink()),
        ):
            written = Path(directory, name)
            if written.is_symlink():
                links.append((written, here / name))
                continue
            _remove(here / name)
            shutil.copy2(written, here / name)
    for written, file in links:
        target = written.readlink()
        if os.path.lexists(file) and not (file.parent / target).exists():
            continue
        _remove(file)
        file.symlink_to(target)


def _remove(file: Path) -> None:
    if rooted_path.is_folder(file):
        shutil.rmtree(file)
    else:
        file.unlink(missing_ok=True)


def keep_written(hooks: Path, own: Mapping[str, HookFile], earlier: Path, kept: Path) -> None:
    """Keep what an outside script wrote into its ``hooks`` folder in the layer's folder ``kept``: later stages see it.

    ``own`` are the stage's own files, ``earlier`` is the folder of what stages before it wrote. Of scripts that it
    saw and took away, a file stays that nothing runs.
    """
    folders_of_scripts = {path.partition("/")[0] for path, hook in own.items() if hook.is_script}
    for directory, _, names in os.walk(hooks):
        for name in names:
            file = Path(directory, name)
            path = file.relative_to(hooks).as_posix()
            if not file.is_symlink() and not rooted_path.is_regular(file):  # a pipe, a socket: nothing to keep
                continue
            if path in folders_of_scripts:  # in the place of the folder: its scripts were taken away
                continue
            if same_as_given(file, own.get(path), _left_by_earlier(earlier, path)):
                continue
            target = kept / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target, follow_symlinks=False)
    for path, hook in own.items():
        if hook.is_script and not os.path.lexists(hooks / path):  # taken away: an empty file that nothing runs
            (kept / path).parent.mkdir(parents=True, exist_ok=True)
            (kept / path).touch(0o644)


def _left_by_earlier(earlier: Path, path: str) -> Path | None:
    """What earlier stages left at a path; None where a link of theirs is on the way: it may lead anywhere."""
    folders = [earlier / folder for folder in list(PurePath(path).parents)[:-1]]
    return earlier / path if all(map(rooted_path.is_folder, folders)) else None


def same_as_given(file: Path, own: HookFile | None, earlier: Path | None) -> bool:
    """Is this file of a stage's hooks folder what the stage found there, from its elements or from an earlier stage."""
    if file.is_symlink():
        return earlier is not None and earlier.is_symlink() and earlier.readlink() == file.readlink()
    runs = bool(file.stat().st_mode & 0o111)
    if earlier is not None and rooted_path.is_regular(earlier):
        return runs == bool(earlier.stat().st_mode & 0o111) and earlier.read_bytes() == file.read_bytes()
    return own is not None and own.data == file.read_bytes() and runs == bool(own.mode & 0o111)
