"""The hooks tree: what all elements of one image bring, merged into one folder, as diskimage-builder lays it out.

Every sub-folder of an element is merged into the folder of the same name; two elements may not bring the same file.
Top-level files of elements are not merged (the plan reads them from each element).
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from blockdev.core.errors import UsageError

SKIPPED = ("tests", "__pycache__", "test-elements")
SCRIPT_NAME = re.compile(r"[0-9A-Za-z_-]+\Z")
GENERATED = ""  # the element of a file that the plan made


@dataclass(frozen=True)
class Phase:
    """One phase of a build; ``inside`` tells whether its scripts have the tree as their root."""

    name: str
    inside: bool

    @property
    def folder(self) -> str:
        """The folder in an element that holds its scripts."""
        return self.name + ".d"


PHASES = (
    Phase("root", False),
    Phase("extra-data", False),
    Phase("pre-install", True),
    Phase("install", True),
    Phase("post-install", True),
    Phase("post-root", False),
    Phase("pre-finalise", False),
    Phase("finalise", True),
    Phase("cleanup", False),
)
PHASE_FOLDERS = {phase.folder: phase for phase in PHASES}


@dataclass(frozen=True)
class HookFile:
    """One file of the hooks tree.

    ``path`` is relative to the hooks root, ``mode`` 0o755 or 0o644; ``target`` is set for a link in ``static``,
    which is kept; links elsewhere stand for the file they lead to. ``data`` is the content (empty for a link).
    """

    path: str
    element: str
    mode: int
    data: bytes = b""
    target: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 over kind, mode and content: what a key needs to know of this file; its time is no part of it."""
        kind = f"link {self.target}" if self.target else f"file {self.mode:o}"
        return hashlib.sha256(kind.encode() + b"\0" + self.data).hexdigest()

    @property
    def text(self) -> str:
        """The content as text; binary content gives an empty string (nothing in it can name anything)."""
        if b"\0" in self.data:
            return ""
        return self.data.decode("utf-8", "replace")

    @property
    def is_script(self) -> bool:
        """Is this file run by its phase: directly in a phase folder, executable, well named (DIB's dib-run-parts)."""
        folder, _, name = self.path.partition("/")
        return folder in PHASE_FOLDERS and "/" not in name and self.mode & 0o111 != 0 and bool(SCRIPT_NAME.match(name))


HooksTree = Mapping[str, HookFile]


def is_dangling(path: Path) -> bool:
    """Is this a symbolic link that leads to nothing, or in a circle?"""
    if not path.is_symlink():
        return False
    try:
        path.stat()
    except OSError as error:
        return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
    return False


def _walk(folder: Path) -> Iterable[Path]:
    skipped, suffixes = (SKIPPED, ".pyc") if folder.name != "static" else ((), ())  # that is for the image, all of it
    for directory, folders, files in os.walk(folder):
        links = [name for name in folders if Path(directory, name).is_symlink()]
        folders[:] = sorted(name for name in folders if name not in skipped)
        files += links
        paths = (Path(directory, name) for name in sorted(files) if not name.endswith(suffixes))
        yield from (file for file in paths if folder.name == "static" or not is_dangling(file))


def _read(element: str, root: Path, file: Path) -> HookFile:
    path = file.relative_to(root).as_posix()
    if file.is_symlink() and path.startswith("static/"):  # a link for the image, wherever it points
        return HookFile(path, element, 0o644, target=str(file.readlink()))
    try:
        mode = file.stat().st_mode
        if not stat.S_ISREG(mode):  # reading a pipe would wait for ever
            raise UsageError(
                f"{path} is neither a file nor a folder", where=f"element {element}", hint=f"look at {file}"
            )
        return HookFile(path, element, 0o755 if mode & 0o111 else 0o644, file.read_bytes())
    except OSError as error:
        raise UsageError(
            f"the file {path} cannot be read: {error.strerror}", where=f"element {element}", hint=f"look at {file}"
        ) from error


def read_folder(element: str, folder: Path) -> dict[str, HookFile]:
    """All files of an element's folder by their path in it, the top-level ones too; without its tests."""
    hooks = {}
    for directory, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if name not in SKIPPED and not name.startswith("."))
        image = Path(directory).relative_to(folder).parts[:1] == ("static",)
        for name in sorted(names):
            file = Path(directory, name)
            if not name.startswith(".") and not name.endswith(".pyc") and (image or not is_dangling(file)):
                hook = _read(element, folder, file)
                hooks[hook.path] = hook
    return hooks


def merge(elements: Iterable[tuple[str, Path]]) -> dict[str, HookFile]:
    """Merge the elements' folders, given as (name, folder) in order, into one hooks tree by path.

    Raises UsageError where two elements bring the same file, naming both (DIB: duplicated hook); deeper down, where DIB
    lets one of the two win by chance, the same content twice is fine.
    """
    tree: dict[str, HookFile] = {}
    for element, root in elements:
        for folder in sorted(root.iterdir()):
            if not folder.is_dir() or folder.name in SKIPPED or folder.name.startswith("."):
                continue
            for file in _walk(folder):
                hook = _read(element, root, file)
                other = tree.get(hook.path)
                if other is not None and (hook.path.count("/") == 1 or hook.digest != other.digest):
                    raise UsageError(
                        f"two elements bring the same file {hook.path}: {other.element} and {element}",
                        where=str(file),
                        hint="rename one of the two",
                    )
                tree[hook.path] = hook
    return tree


def script_order(name: str) -> tuple[int, bytes]:
    """The place of a script in its phase: by leading number, then bytewise (``sort -n`` under LC_ALL=C)."""
    number = re.match(r"\s*(-?[0-9]+)", name)
    return (int(number.group(1)) if number else 0, name.encode())


def scripts(tree: HooksTree, phase: Phase) -> list[HookFile]:
    """The scripts of one phase in the order in which they run."""
    hooks = [hook for hook in tree.values() if hook.is_script and hook.path.startswith(phase.folder + "/")]
    return sorted(hooks, key=lambda hook: script_order(hook.path.partition("/")[2]))
