"""The synthetic mirrors by distribution, and the settings with which a build uses each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

# A mirror of one release, made below a folder and served while it is held; what a build is told to use it.
Serve = Callable[[Path, str], AbstractContextManager[Mapping[str, str]]]
SERVERS: dict[str, Serve] = {}


@contextlib.contextmanager
def served(releases: Mapping[str, str], folder: Path) -> Iterator[dict[str, Mapping[str, str]]]:
    """The settings for builds of each distribution, whose mirrors (one release each) are there as long as this is held.

    Raises KeyError for a distribution that there is no synthetic mirror of.
    """
    with contextlib.ExitStack() as held:
        yield {
            distribution: held.enter_context(SERVERS[distribution](folder / distribution, release))
            for distribution, release in releases.items()
        }
