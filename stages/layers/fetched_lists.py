"""Package lists fetched from a mirror that has moved, to know which of the packages in the cache it still lists.

Asked for are those lists alone of which an earlier state was used. Where one does not come, nothing is lost: the stage
downloads its packages again.
"""

from __future__ import annotations

import contextlib
import http.client
import lzma
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.layers.package_lists import READERS, write_checked
from stages.repositories import package_index
from stages.repositories.apt_lists import folder_of
from stages.repositories.download import Patience, open_address
from stages.repositories.metalink import REPOMD
from stages.repositories.package_index import APT, PackageList
from stages.repositories.state import METALINK, MIRRORLIST, State, mirror_list

LARGEST = 1 << 30  # bytes of a list


@dataclass(frozen=True)
class FetchedPlaces:
    """Lists in an empty ``folder``, as a mirror has them now."""

    folder: Path
    patience: Patience

    def signed(self, state: State) -> Iterator[Path]:
        """See ``listedpackages.Places``."""
        for address in self._addresses(state):
            yield from self._fetched(address, "")

    def lists(self, state: State, listed: PackageList) -> Iterator[Path]:
        """See ``listedpackages.Places``."""
        if not listed.path:
            yield from self.signed(state)
            return
        suffixes = READERS if package_index.kind_of(state.index) == APT else ("",)
        for address in self._addresses(state):
            for suffix in suffixes:
                yield from self._fetched(f"{folder_of(address)}/{listed.path}", suffix)

    def _addresses(self, state: State) -> list[str]:
        """Where the signed index may be."""
        if state.mirrors:
            return [f"{mirror}/{REPOMD}" for mirror in state.mirrors[:2]]
        source = state.source
        with contextlib.suppress(OSError):
            if source.startswith(MIRRORLIST):
                return list(mirror_list(source.removeprefix(MIRRORLIST), self.patience)[:1])
            return [] if source.startswith(METALINK) else [source]
        return []

    def _fetched(self, address: str, suffix: str) -> Iterator[Path]:
        file = self.folder / "list"
        try:
            with open_address(address + suffix, self.patience.timeout) as answer:
                write_checked(file, _bounded(READERS[suffix](answer)))
        except (OSError, EOFError, ValueError, lzma.LZMAError, http.client.HTTPException, urllib.error.URLError):
            return
        yield file


def _bounded(pieces: Iterator[bytes]) -> Iterator[bytes]:
    length = 0
    for piece in pieces:
        length += len(piece)
        if length > LARGEST:
            raise ValueError("it is too large")
        yield piece
