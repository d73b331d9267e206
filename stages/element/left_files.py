"""Files that environment.d makes beside the variables which name them: ``X=$(mktemp -d); export X``.

They are shown as hooks are, below a folder of their own, to the outside scripts whose variables name them; so their
content is in these scripts' keys. Before such a script runs they are put where the variable says.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from stages.element.hooks import GENERATED, HookFile, HooksTree

FOLDER = "left.d"
_FOLDER_ITSELF = ".folder"  # a file that stands for the folder that it is in
_MOST, _LONGEST, _DEEPEST = 1000, 1 << 20, 1024  # files, bytes of all, and bytes of a path


def left_files(outside: Path, places: Iterable[str]) -> dict[str, HookFile]:
    """What was left below these places of a folder, as hooks; nothing where that is more than snippets make.

    Names that are no text, and long ones, are left out.
    """
    hooks: dict[str, HookFile] = {}
    length = 0
    for top in places:
        for directory, folders, names in os.walk(outside / top):
            folders[:] = [folder for folder in folders if folder != _FOLDER_ITSELF]
            own = (f"{folder}/{_FOLDER_ITSELF}" for folder in folders)
            for name in (*own, *(name for name in names if name != _FOLDER_ITSELF)):
                file = Path(directory, name)
                path = f"{FOLDER}/{file.relative_to(outside).as_posix()}"
                if not _can_be_shown(path) or file.parent.is_symlink():
                    continue
                data, mode = b"", 0o700
                if file.name != _FOLDER_ITSELF:
                    status = file.lstat()
                    if not stat.S_ISREG(status.st_mode) or length + status.st_size > _LONGEST:
                        continue
                    data, mode = file.read_bytes(), stat.S_IMODE(status.st_mode)
                length += len(data)
                hooks[path] = HookFile(path, GENERATED, mode, data)
    return hooks if len(hooks) <= _MOST else {}


def _can_be_shown(path: str) -> bool:
    try:
        return len(path.encode()) <= _DEEPEST
    except UnicodeEncodeError:
        return False


def named_by(tree: HooksTree, variables: Mapping[str, str]) -> dict[str, HookFile]:
    """Those that a stage's variables name, themselves or a folder above them."""
    values = {value.rstrip("/") for value in variables.values() if value.startswith("/")}
    files = {path: hook for path, hook in tree.items() if path.startswith(f"{FOLDER}/")} if values else {}
    return {
        path: hook
        for path, hook in files.items()
        if any(_original_path(path) == value or _original_path(path).startswith(f"{value}/") for value in values)
    }


def _original_path(path: str) -> str:
    return "/" + path.removeprefix(f"{FOLDER}/").removesuffix(f"/{_FOLDER_ITSELF}")


def put(files: Mapping[str, HookFile], outside: Path) -> None:
    """Make those of a stage's files that environment.d has left, where nothing lies; no link is followed."""
    for path, hook in sorted(files.items()):
        if not path.startswith(f"{FOLDER}/"):
            continue
        *folders, name = _original_path(path)[1:].split("/")
        handle = os.open(outside, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for folder in (*folders, *([name] if path.endswith(f"/{_FOLDER_ITSELF}") else [])):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(folder, 0o700, dir_fd=handle)
                above, handle = handle, os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handle)
                os.close(above)
            if not path.endswith(f"/{_FOLDER_ITSELF}"):
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
                with open(os.open(name, flags, hook.mode, dir_fd=handle), "wb") as file:  # noqa: PTH123 (a descriptor)
                    file.write(hook.data)
        except OSError:
            continue  # an earlier script has put something else there
        finally:
            os.close(handle)
