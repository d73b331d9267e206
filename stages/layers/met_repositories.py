"""The plan's repositories as the stages of one build meet them: pinned to one state, and which one it was in the end.

Stages that install see a folder with a metalink for each repository of RPMs: the digest of the plan's state and the
mirrors to take it from, so that their package tool takes no other state from any of them. It is mounted, and in no
layer: a layer that names a mirror would be used again when that mirror is gone. Like a proxy, which mirror serves is
part of no key; which state, is.

Other package tools take what they find. What they have left of a repository's signed index says which state that was:
a stage that met another one than the plan's is not kept.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blockdev.core.errors import BuildError
from stages.layers.listed_packages import LARGEST_INDEX, StagePlaces
from stages.layers.package_cache import CacheView
from stages.plan.plan import Plan, Stage
from stages.protocol.request import Request
from stages.repositories import metalink, package_index
from stages.repositories.download import Patience, download
from stages.repositories.package_index import APT, PACMAN, RPM
from stages.repositories.state import METALINK, MIRRORLIST, MirrorMovedError, State, mirror_list

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+@-]{0,200}\Z")


def metalinks(states: Sequence[State], patience: Patience, offline: bool) -> dict[str, str]:
    """What package tools are told of repositories of RPMs in these states: metalinks by the names of their files."""
    return {
        f"{state.name}.metalink": metalink.write(state.digest, _mirrors(state, patience, offline))
        for state in states
        if package_index.kind_of(state.index) == RPM and SAFE_NAME.match(state.name)
    }


def _mirrors(state: State, patience: Patience, offline: bool) -> Sequence[str]:
    if state.mirrors or offline:
        return state.mirrors
    if state.source.endswith(f"/{metalink.REPOMD}") and not state.source.startswith("mirrorlist="):
        return (state.source.removesuffix(f"/{metalink.REPOMD}"),)
    with contextlib.suppress(OSError):  # a lock's state: its mirrors are those of today
        if state.source.startswith(METALINK):
            address = state.source.removeprefix(METALINK)
            return metalink.parse(download(address, patience, metalink.LARGEST).data, address).mirrors
        places = mirror_list(state.source.removeprefix(MIRRORLIST), patience)
        return [address_of_list.removesuffix(f"/{metalink.REPOMD}") for address_of_list in places]
    return ()


@dataclass
class MetRepositories:
    """The repositories of one plan. ``metalink_folder`` is one to make; ``now`` asks for present digests by address.

    ``proven``: every stage that installed has left signed indices of the plan's state, of all of them.
    """

    states: Sequence[State]
    metalink_folder: Path
    patience: Patience
    offline: bool = False
    locked: bool = False
    now: Callable[[], Mapping[str, str]] = dict
    proven: bool = True

    @classmethod
    def of(
        cls, plan: Plan, metalink_folder: Path, request: Request, now: Callable[[], Mapping[str, str]]
    ) -> MetRepositories:
        """Those of a plan; see the class. Raises UsageError where how long to wait is no number."""
        locked = bool(request.locking.locked)
        return cls(plan.repositories, metalink_folder, Patience.of(plan.environment), request.offline, locked, now)

    _shown: bool = field(default=False, init=False)

    def folder(self, stage: Stage) -> Path | None:
        """The folder with the metalinks, for a stage that installs; None where there are none."""
        if not stage.packages or not any(package_index.kind_of(state.index) == RPM for state in self.states):
            return None
        if not self._shown:
            self.metalink_folder.mkdir(exist_ok=True)  # (an earlier plan's)
            for name, text in metalinks(self.states, self.patience, self.offline).items():
                (self.metalink_folder / name).write_text(text, encoding="utf-8")
            self._shown = True
        return self.metalink_folder

    def texts(self, stage: Stage) -> dict[str, str]:
        """The same for a stage as texts, by the names of the files."""
        return metalinks(self.states, self.patience, self.offline) if stage.packages else {}

    # -- which state it was ----------------------------------------------------------------------------------------

    def look(self, stage: Stage, tree: Path, upper: Path, views: Sequence[CacheView]) -> None:
        """After a stage has run on ``tree``, whose changes are in ``upper``: the state that its package tool met.

        Raises MirrorMovedError where it left a signed index of another one.
        """
        if not stage.packages or self.offline or self.locked:  # their states are where they are
            return
        everywhere = StagePlaces(tree, [folder for view in views for folder in (view.upper, view.lower)])
        new = StagePlaces(upper, [view.upper for view in views])
        for state in self.states:
            if any(index_digest == state.digest for index_digest in _digests(everywhere, state)):
                continue
            if any(_digests(new, state, own=True)):
                raise MirrorMovedError
            self.proven = False

    def look_after_failure(self, stage: Stage) -> None:
        """After a stage that installs has failed: raises MirrorMovedError where its repositories are not as planned."""
        if not stage.packages or self.offline or self.locked:
            return
        try:
            now = self.now()
        except BuildError:  # it does not answer: what the stage's own tool says is clearer
            return
        if any(now.get(state.shown, state.digest) != state.digest for state in self.states):
            raise MirrorMovedError


def _digests(places: StagePlaces, state: State, *, own: bool = False) -> Iterator[str]:
    """The digests of what may be a state's signed index; ``own``: of that alone which is no other repository's."""
    kind = package_index.kind_of(state.index)
    if not kind or (own and kind not in (APT, PACMAN, RPM)):
        return
    for file in places.signed(state):
        if own and kind == RPM and not _is_of(file, state.name):
            continue
        with contextlib.suppress(OSError):
            handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(handle, "rb") as data:
                status = os.fstat(handle)
                if stat.S_ISREG(status.st_mode) and status.st_size <= LARGEST_INDEX:
                    yield package_index.file_digest(data, "sha256")


def _is_of(file: Path, name: str) -> bool:
    """Does a ``repomd.xml`` in a cache lie in the folder of this repository: zypper's, or dnf's with its suffix."""
    folder = file.parent.parent.name
    return bool(name) and (folder == name or re.fullmatch(rf"{re.escape(name)}-[0-9a-f]{{16}}", folder) is not None)
