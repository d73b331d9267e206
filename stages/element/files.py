"""An element's files as they go along with a request: which they are, and that they are the element's.

An element may come from anywhere, and its scripts see what goes along. So a link in it leads nowhere but into the
folders that the user named as elements paths: else a link would hand the scripts any file of the user. A link below
``static`` is for the image, and travels as a link.

diskimage-builder copies links as they are into the merged folder, and leaves out a script that leads nowhere there. A
link to nothing may so be one to another element's file; a link to nothing at all is left out here, too. A link out of
its element would be left out there, and is followed here. Both are said.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from blockdev.core.errors import UsageError
from blockdev.core.open_beneath import open_beneath
from stages.element.hooks import PHASE_FOLDERS, is_dangling
from stages.element.resolve import BUILTIN, Element

SKIPPED = ("__pycache__", "tests", "test-elements", ".git")


def files_of(root: Path, skipped: Iterable[str]) -> Iterator[Path]:
    """All files below ``root`` in a fixed order; what lies in ``static`` is for the image and all of it travels."""
    for directory, folders, names in os.walk(root, followlinks=True):
        image = Path(directory).relative_to(root).parts[:1] == ("static",)
        folders[:] = sorted(name for name in folders if image or name not in skipped)
        static = [name for name in folders if is_kept(Path(directory, name), root)]
        folders[:] = [name for name in folders if name not in static]
        names += static
        yield from (Path(directory, name) for name in sorted(names) if image or not name.endswith(".pyc"))


def is_kept(path: Path, root: Path) -> bool:
    """Is this a symbolic link for the image: ``static`` is copied as it is, links elsewhere are followed."""
    return path.is_symlink() and path.relative_to(root).parts[0] == "static"


def merged_target(element: Element, link: Path, elements: Iterable[Element]) -> tuple[Element, Path] | None:
    """The file of another element that a dangling link leads to once all elements' folders are merged; None for none.

    As all elements' folders lie in one there, ``install.d/10-it -> ../bin/it`` is anybody's ``bin/it``.
    """
    inner = _inner_target(element, link)
    for other in elements if inner and "/" in inner else ():
        file = other.path / str(inner)
        if other.name != element.name and file.is_file():
            return other, file
    return None


def _inner_target(element: Element, link: Path) -> str | None:
    """Where in its element a relative link leads, as it is written; None where it leads out, or is no relative one."""
    written = link.readlink()
    inner = os.path.normpath(link.parent.relative_to(element.path) / written)
    return None if written.is_absolute() or inner == ".." or inner.startswith("../") else inner


def _roots(element: Element) -> tuple[Path, ...]:
    return (element.path.resolve(), BUILTIN.resolve(), *element.within)


def _root_of(path: Path, element: Element) -> Path | None:
    """The folder among those that a link of the element may lead to that this resolved path lies in."""
    return next((root for root in _roots(element) if path.is_relative_to(root)), None)


def check_links(elements: Sequence[Element]) -> tuple[str, ...]:
    """Raise UsageError for the first link of an element, outside of ``static``, that leads out of the elements paths.

    And for what is no file, no folder and no link, and for links to a folder that they lie in. Returns a sentence for
    each link that diskimage-builder would take otherwise, or that is left out.
    """
    remarks: list[str] = []
    for element in elements:
        if element.path.is_relative_to(BUILTIN):
            continue
        if element.within and not any(element.path.is_relative_to(root) for root in element.within):
            raise _leads_out(element, element.within[0] / element.name, element.path)
        for link in _check_folder(element, element.path, (element.path,), image=False):
            remarks += _remarks(element, link, elements)
    return tuple(remarks)


def _remarks(element: Element, link: Path, elements: Iterable[Element]) -> Iterator[str]:
    """What is to be said of one link outside of ``static``."""
    path, written = link.relative_to(element.path).as_posix(), link.readlink()
    what = f"element {element.name}: {path} is a link to {written}"
    if is_dangling(link):
        if merged_target(element, link, elements) is None:
            yield f"{what}, which is not there: it is left out"
        return
    phase = PHASE_FOLDERS.get(path.partition("/")[0])
    if phase is None or path.count("/") != 1 or not link.is_file() or not link.stat().st_mode & 0o111:
        return
    if not written.is_absolute() and _inner_target(element, link) is None:
        yield f"{what}: it is run; diskimage-builder, which copies such a link as it is, leaves it out"
    elif written.is_absolute() and phase.inside:
        yield f"{what}: it is run; diskimage-builder looks for that file in the tree"


def _check_folder(element: Element, folder: Path, way: tuple[Path, ...], *, image: bool) -> Iterator[Path]:
    """The links below the folder, outside of ``static``, each checked."""
    top = folder == element.path
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise UsageError(
            f"the folder {folder} cannot be read: {error.strerror}", where=f"element {element.name}"
        ) from error
    for entry in entries:
        static = image or (top and entry.name == "static")
        if entry.is_symlink():
            if not static and entry.name not in SKIPPED:
                yield Path(entry.path)
                yield from _check_link(element, Path(entry.path), way)
        elif entry.is_dir(follow_symlinks=False):
            if static or entry.name not in SKIPPED:
                yield from _check_folder(element, Path(entry.path), (*way, Path(entry.path)), image=static)
        elif not entry.is_file(follow_symlinks=False):
            raise UsageError(f"{entry.path} is neither a file nor a folder", where=f"element {element.name}")


def _check_link(element: Element, link: Path, way: tuple[Path, ...]) -> Iterator[Path]:
    if is_dangling(link):
        return
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) else "its links go in a circle"
        what = f"the file {link} cannot be read: {why}"
        raise UsageError(what, where=f"element {element.name}", hint=f"it is a link to {link.readlink()}") from error
    if _root_of(target, element) is None:
        raise _leads_out(element, link, target)
    if target.is_dir():
        if any(folder.resolve().is_relative_to(target) for folder in way):
            raise UsageError(f"{link} is a link to a folder that it lies in", where=f"element {element.name}")
        yield from _check_folder(element, link, (*way, target), image=False)
    elif not target.is_file():
        raise UsageError(f"{link} is neither a file nor a folder", where=f"element {element.name}")


def _leads_out(element: Element, link: Path, target: Path) -> UsageError:
    folder = target if target.is_dir() else target.parent
    return UsageError(
        f"{link} is a link to {target}, which lies in no elements path",
        where=f"element {element.name}",
        hint=f"put the file itself into the element, or name the folder as an elements path: ...:{folder}",
    )


def read_file(element: Element, file: Path) -> tuple[bytes, int]:
    """The content and the mode of one of the element's files; raises UsageError where it is not the element's.

    What was found when links were looked at is not relied on: the way is looked up anew, and then no link is followed.
    """
    where = f"element {element.name}"
    try:
        with suppress(OSError), os.fdopen(open_beneath(element.path, file.relative_to(element.path)), "rb") as content:
            return content.read(), os.fstat(content.fileno()).st_mode  # (nearly every file: there is no link)
        target = file.resolve(strict=True)
        root = _root_of(target, element)
        if root is None:
            raise _leads_out(element, file, target)
        if not stat.S_ISREG(target.lstat().st_mode):
            raise UsageError(f"{file} is neither a file nor a folder", where=where)
        with os.fdopen(open_beneath(root, target.relative_to(root)), "rb") as content:
            return content.read(), os.fstat(content.fileno()).st_mode
    except OSError as error:
        raise UsageError(f"the file {file} cannot be read: {error.strerror or error}", where=where) from error
