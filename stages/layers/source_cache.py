"""What scripts have downloaded of source repositories: it counts only while the server says what it said then.

diskimage-builder's scripts ask a server just for what is newer than their file, and take an older one for unchanged. So
the state of each download is written down beside the cache, and one of another state goes before the script runs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from blockdev.core.atomic_file import write_file
from blockdev.core.errors import BuildError
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
        download, mark = cache / DOWNLOADS / file_name(state.source), cache / MARKS / file_name(state.source)
        if mark.is_file() and mark.read_text(encoding="utf-8") == state.state:
            continue
        if offline:
            raise BuildError(
                f"the source repository {state.source} was not downloaded since it changed",
                where=state.source.where,
                hint="build once without --offline",
            )
        mark.unlink(missing_ok=True)
        download.unlink(missing_ok=True)


def remember(cache: Path, states: Iterable[SourceState]) -> None:
    """Write down the states of what has been downloaded."""
    (cache / MARKS).mkdir(exist_ok=True)
    for state in _files(states):
        write_file(cache / MARKS / file_name(state.source), state.state)


def _files(states: Iterable[SourceState]) -> list[SourceState]:
    return [state for state in states if state.source.kind != "git"]
