"""What scripts have downloaded of source repositories: it counts only while the server says what it said then.

diskimage-builder's scripts ask a server just for what is newer than their file, and take an older one for unchanged. So
the state of each download is written down beside the cache, and one of another state goes before the script runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from blockdev.core.atomic_file import write_file
from blockdev.core.errors import BuildError
from blockdev.core.open_beneath import open_beneath, open_folder
from stages.element.source_repositories import Source
from stages.repositories.source_state import SourceState

DOWNLOADS = "source-repositories"  # in DIB_IMAGE_CACHE; the scripts' own folder and names
MARKS = "source-states"


def file_name(source: Source) -> str:
    """The name that scripts give the download of a source repository."""
    location = re.sub("://[^/]*@", "://", source.location)
    digest = hashlib.sha1(f"{source.kind}_{location}\n".encode(), usedforsecurity=False).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9]', '_', source.name)}_{digest}"


def let_go(cache: Path, states: Iterable[SourceState], *, offline: bool) -> None:
    """Remove downloads of other states; BuildError where there is no network to get them again."""
    for state in _files(states):
        name = file_name(state.source)
        if _is_marked(cache, name, state.state):
            continue
        if offline:
            raise BuildError(
                f"the source repository {state.source} was not downloaded since it changed",
                where=state.source.where,
                hint="build once without --offline",
            )
        for folder in (MARKS, DOWNLOADS):
            with contextlib.suppress(FileNotFoundError), _opened(cache, folder) as handle:
                os.unlink(name, dir_fd=handle)


def remember(cache: Path, states: Iterable[SourceState]) -> None:
    """Write down the states of what has been downloaded."""
    with _opened(cache, MARKS, make=True) as folder:
        for state in _files(states):
            write_file(Path(f"/proc/self/fd/{folder}", file_name(state.source)), state.state)


@contextlib.contextmanager
def _opened(cache: Path, name: str, *, make: bool = False) -> Iterator[int]:
    """A folder of the cache: scripts write there, so no link is followed. FileNotFoundError where it is not there."""
    try:
        handle = open_folder(cache, name, make=make)
    except NotADirectoryError:
        raise BuildError(
            f"{name} in the scripts' cache is no folder any more: a script has put something else there",
            hint="have the script leave it alone, and remove what is cached: dib-ctr cache prune",
        ) from None
    try:
        yield handle
    finally:
        os.close(handle)


def _is_marked(cache: Path, name: str, state: str) -> bool:
    try:
        handle = open_beneath(cache, f"{MARKS}/{name}")
    except OSError:
        return False
    with open(handle, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 (a descriptor)
        return file.read(len(state) + 1) == state


def _files(states: Iterable[SourceState]) -> list[SourceState]:
    return [state for state in states if state.source.kind != "git"]
