"""What an image's outside scripts left in their working directory, on its way to the folder of the outputs.

It is made by elements that nobody may know, and the folder may be somebody's home. So a file lies beside the image
only under a name that begins with the image's own (``NAME.kernel``, ``NAME.d/...``); all others go into the folder
``NAME.files``. Links stay among these files, nothing else than files, folders and links comes through, and nothing is
replaced that a build did not write.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from blockdev.core.beneath import Beneath, parts_of
from blockdev.core.errors import BuildError
from blockdev.core.holes import PIECE
from builder.destination.receive import receive, refused, shown
from builder.destination.targets import REPLACE
from builder.destination.written_outputs import Memory

FOLDER = "{}.files"  # for all that is not named after the image
_SEPARATORS = (".", "-", "_")
Parts = tuple[str, ...]


@dataclass(frozen=True)
class SideFiles:
    """Files that are whole in a partial folder, each by the parts of the path that it is to have below ``folder``."""

    folder: Path
    files: Mapping[Parts, Path]

    @property
    def coming(self) -> dict[Path, Path]:
        """The same by whole paths."""
        return {self.folder.joinpath(*parts): new for parts, new in self.files.items()}

    def left_to_do(self, kept: Memory, *, replace: bool) -> SideFiles:
        """Those that are not there already; BuildError where one would replace what no build wrote.

        ``replace``: files may go, whoever wrote them.
        """
        left = {}
        with Beneath.opened(self.folder) as held:
            for parts, new in self.files.items():
                path = self.folder.joinpath(*parts)
                status = _present(held, parts)
                if status is not None and _is_same(held, parts, new, status):
                    continue
                if status is not None and (stat.S_ISDIR(status.st_mode) or not (replace or kept.wrote(path))):
                    raise _in_the_way(path, is_folder=stat.S_ISDIR(status.st_mode))
                left[parts] = new
        return SideFiles(self.folder, left)

    def appear(self) -> None:
        """Put them in their places, one after another; OSError where that fails."""
        with Beneath.opened(self.folder) as held:
            for parts, new in self.files.items():
                with held.folder(parts[:-1], make=True) as above:
                    os.rename(new, parts[-1], dst_dir_fd=above)


def _present(held: Beneath, parts: Parts) -> os.stat_result | None:
    try:
        return held.lstat(parts)
    except NotADirectoryError as error:
        raise BuildError(
            f"{shown(str(error.filename))} is a link or a file, and something beside the image belongs below it",
            hint="move it away, or name another folder: --dest DIR",
        ) from error


def _in_the_way(path: Path, *, is_folder: bool) -> BuildError:
    if is_folder:
        what, hint = f"{shown(str(path))} is a folder, and a file beside the image has that name", "move it away"
    else:
        what = f"{shown(str(path))} is there, and is not what a build of yours wrote: it is left alone"
        hint = f"move it away, or let it be replaced: {REPLACE}"
    return BuildError(what, hint=f"{hint}; or name another folder: --dest DIR")


def _is_same(held: Beneath, parts: Parts, new: Path, status: os.stat_result) -> bool:
    """Does the very content lie there already."""
    if not stat.S_ISREG(status.st_mode) or new.is_symlink() or status.st_size != new.stat().st_size:
        return False
    try:
        with held.file(parts) as descriptor, open(descriptor, "rb", closefd=False) as old, new.open("rb") as other:
            return all(piece == other.read(PIECE) for piece in iter(lambda: old.read(PIECE), b""))
    except OSError:
        return False


def is_of_image(parts: Parts, name: str) -> bool:
    """Does a path begin with the image's name, as a word of its own."""
    return parts[0] == name or parts[0].startswith(tuple(name + separator for separator in _SEPARATORS))


def place_of(parts: Parts, name: str) -> Parts:
    """Where a file belongs: beside the image, or with a name of another kind in the folder for those."""
    return parts if not name or is_of_image(parts, name) else (FOLDER.format(name), *parts)


def bring_side_files(stream: Iterable[bytes], partial: Path, folder: Path, name: str = "") -> SideFiles:
    """Receive the files into ``partial``; they belong below ``folder``.

    ``name`` is the image's; without one the folder is for these files alone, and takes them as they are named. Raises
    BuildError for what is refused.
    """
    arrived = partial / "store"
    links = {parts_of(path): target for path, target in receive(stream, arrived).items()}
    if any(parts[0] != "artifact" for parts in links) or not (arrived / "artifact").is_dir():
        raise refused("it is no folder of files", "artifact")
    source = arrived / "artifact"
    entries = {path.relative_to(source).parts: path for path in sorted(source.rglob("*"))}
    files = {place_of(parts, name): path for parts, path in entries.items() if not path.is_dir()}
    inside = {parts[1:]: target for parts, target in links.items()}
    for number, (parts, target) in enumerate(inside.items()):
        _check_link(parts, target, {*entries, *inside} - {()}, name)
        link = partial / f"link-{number}"
        link.symlink_to(target)
        files[place_of(parts, name)] = link
    return SideFiles(folder.absolute(), dict(sorted(files.items())))


def _check_link(parts: Parts, target: str, present: set[Parts], name: str) -> None:
    """A link leads to one of the files or folders beside it, by a way that has no other link on it."""
    words = [word for word in target.split("/") if word not in ("", ".")]
    ups = next((number for number, word in enumerate(words) if word != ".."), len(words))
    leads = (*parts[: max(0, len(parts) - 1 - ups)], *words[ups:])
    within = not target.startswith("/") and ups < len(parts) and ".." not in words[ups:] and leads in present
    if not within or (place_of(leads, name) == leads) != (place_of(parts, name) == parts):
        raise refused(f"it is a link to {shown(target)}, which is none of the files beside it", "/".join(parts))


def moved_aside(paths: Iterable[str], name: str) -> list[str]:
    """A sentence for the user where files were put into the folder for those that are not named after the image."""
    folder = FOLDER.format(name)
    moved = [path for path in paths if path.startswith(f"{folder}/")]
    if not moved:
        return []
    more = f" and {len(moved) - 1} more" if len(moved) > 1 else ""
    first = shown(moved[0].removeprefix(f"{folder}/"))
    return [f"not named after the image, so put into {folder}: {first}{more} (-o files,dest=DIR takes all into DIR)"]
