"""The state of package repositories: the digest and date of each signed index, one small request a repository.

State is part of the key of stages that install packages: a mirror that has not moved gives a hit, one that has moved
rebuilds from the first such stage. What a build last installed from is recorded in the store, for ``--offline``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
import urllib.error
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from blockdev.core.atomic_file import write_file
from blockdev.core.digest import digest
from blockdev.core.errors import BuildError, UsageError
from blockdev.core.typed_json import read
from stages.redaction.patterns import without_credentials
from stages.repositories import metalink
from stages.repositories.download import LARGEST, Answer, Patience, ProxyError, download
from stages.repositories.index_date import index_date

ATTEMPTS = 3
SAVED_LISTS = "repositories/lists"  # in the store: package lists of states seen (``stages.layers.package_lists``)


PATIENCE = Patience()
ASKED = 8  # mirrors of a list that are asked for the index, at most
METALINK, MIRRORLIST = "metalink=", "mirrorlist="


class MirrorMovedError(Exception):
    """A repository changed between the plan and the end of a stage that installed or fetched from it."""


@dataclass(frozen=True)
class Repository:
    """One package repository: where its signed index lies; ``elsewhere`` is where it is read instead (a snapshot).

    ``index`` is the index's own address, ``metalink=ADDRESS`` (a metalink 3.0 file that has the SHA-256 of the index),
    or ``mirrorlist=ADDRESS PATH [NAME=VALUE ...]``: a list of mirrors, a line each, below which the index is at PATH;
    ``$NAME`` in the list stands for a value.
    """

    name: str
    index: str
    elsewhere: str = ""

    @property
    def source(self) -> str:
        """Where the signed index is read."""
        return self.elsewhere or self.index

    @property
    def shown(self) -> str:
        """Its index as it may be told: without a password."""
        return without_credentials(self.index)


@dataclass(frozen=True)
class State:
    """What a repository's signed index was: its SHA-256 and its date in seconds since 1970 (0: it says none).

    ``elsewhere`` is where it was read, where that is not ``index``; ``etag`` is what the server calls it. ``mirrors``
    are the folders to take a repository of RPMs from in this state, best first (``stages.repositories.mirror_choice``),
    ``name`` is the repository's.
    """

    index: str
    digest: str
    date: int
    elsewhere: str = ""
    etag: str = field(default="", compare=False)
    mirrors: tuple[str, ...] = field(default=(), compare=False)
    name: str = field(default="", compare=False)

    @property
    def source(self) -> str:
        """Where the signed index was read."""
        return self.elsewhere or self.index

    @property
    def shown(self) -> str:
        """The index as it may be told: without a password."""
        return without_credentials(self.index)


def from_environment(environment: Mapping[str, str]) -> tuple[Repository, ...]:
    """The repositories that the environment names.

    Those of apt are in ``DIB_APT_SOURCES_CONF``, a line ``name:deb URI SUITE ...`` each; without it, the one of
    ``DIB_DISTRIBUTION_MIRROR`` and ``DIB_RELEASE`` of Debian and Ubuntu counts. All others are in
    ``DIB_CTR_REPOSITORIES``, a line ``NAME INDEX`` each (see :class:`Repository`); raises UsageError for another line.
    """
    repositories: dict[str, Repository] = {}
    for line in environment.get("DIB_APT_SOURCES_CONF", "").splitlines():
        name, _, rest = line.strip().partition(":")
        match = re.match(r"deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)", rest)
        if match:
            index = index_of(match[1], match[2])
            repositories.setdefault(index, Repository(name, index))
    mirror, release = environment.get("DIB_DISTRIBUTION_MIRROR", ""), environment.get("DIB_RELEASE", "")
    if not repositories and mirror and release and environment.get("DISTRO_NAME") in ("debian", "ubuntu"):
        index = index_of(mirror, release)
        repositories[index] = Repository("default", index)
    for line in environment.get("DIB_CTR_REPOSITORIES", "").splitlines():
        name, _, index = line.strip().partition(" ")
        if "://" in index:
            repositories.setdefault(index.strip(), Repository(name, index.strip()))
        elif name:
            raise UsageError(
                f"{line.strip()!r} names no package repository",
                where="DIB_CTR_REPOSITORIES",
                hint="NAME ADDRESS, a line each",
            )
    return tuple(repositories.values())


def index_of(uri: str, suite: str) -> str:
    """Where the signed index of a suite lies; a suite ending in ``/`` is flat."""
    if suite.endswith("/"):
        return f"{uri.rstrip('/')}/{suite.strip('/')}/InRelease".replace("/./", "/")
    return f"{uri.rstrip('/')}/dists/{suite}/InRelease"


def _record_file(folder: Path, index: str) -> Path:
    return folder / f"{digest(without_credentials(index))[:24]}.json"


def recorded(folder: Path, index: str) -> State | None:
    """The state of an index that a build last installed from, or None; its addresses are without passwords."""
    try:
        return read(State, json.loads(_record_file(folder, index).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def remember(states: Sequence[State], folder: Path) -> None:
    """Record states that a build has installed from: its package tool found them signed, and the lists with them."""
    for state in states:
        last = recorded(folder, state.source)
        shown = replace(state, index=state.shown, elsewhere=without_credentials(state.elsewhere), mirrors=())
        if last is None or asdict(last) != asdict(shown):
            write_file(_record_file(folder, state.source), json.dumps(asdict(shown)))


def _fetch(repository: Repository, last: State | None, patience: Patience) -> State:
    address = repository.source
    if address.startswith(METALINK):
        return _by_metalink(repository, last, patience)
    places = mirror_list(address.removeprefix(MIRRORLIST), patience) if address.startswith(MIRRORLIST) else (address,)
    headers = {"Cache-Control": "no-cache"}
    if last and last.etag and places == (repository.source,):
        headers["If-None-Match"] = last.etag
    try:
        asked, answer = _first_answer(places, patience, headers)
    except urllib.error.HTTPError as error:
        if error.code == 304 and last:
            mirrors = _folders(places, address, error.geturl() or address)
            return replace(last, index=repository.index, elsewhere=repository.elsewhere, mirrors=mirrors)
        raise
    sum_, date = hashlib.sha256(answer.data).hexdigest(), index_date(asked, answer.data)
    mirrors = _folders(places, asked, answer.address)
    return State(repository.index, sum_, date, repository.elsewhere, answer.etag, mirrors)


def _by_metalink(repository: Repository, last: State | None, patience: Patience) -> State:
    address = repository.source.removeprefix(METALINK)
    data = download(address, patience, metalink.LARGEST, **{"Cache-Control": "no-cache"}).data
    from stages.repositories import mirror_choice

    choice = mirror_choice.by_metalink(data, address, last.digest if last else "", patience)
    return State(repository.index, choice.state.digest, choice.state.date, repository.elsewhere, mirrors=choice.mirrors)


def _first_answer(places: Sequence[str], patience: Patience, headers: Mapping[str, str]) -> tuple[str, Answer]:
    """The first of several places that has the index, and the index; raises the last one's OSError."""
    places = places[:ASKED]
    for address in places[:-1]:
        with contextlib.suppress(OSError):
            return address, download(address, patience, LARGEST, **headers)
    return places[-1], download(places[-1], patience, LARGEST, **headers)


def _folders(places: Sequence[str], asked: str, came_from: str) -> tuple[str, ...]:
    """The folders to take a repository of RPMs from, the one first whose index was seen; none for another kind."""
    if not asked.endswith(f"/{metalink.REPOMD}"):
        return ()
    from stages.repositories import mirror_choice

    behind = [address.removesuffix(f"/{metalink.REPOMD}") for address in places]
    return tuple(dict.fromkeys((*mirror_choice.after_redirect(asked, came_from), *behind)))


def mirror_list(listed: str, patience: Patience) -> tuple[str, ...]:
    """Where the index is below each mirror of the list at ``ADDRESS``, by ``ADDRESS PATH``; raises OSError."""
    address, _, path = listed.partition(" ")
    from stages.repositories import mirror_choice

    text = download(address, patience, metalink.LARGEST).data.decode("utf-8", "replace")
    return mirror_choice.by_list(text, address, path)


def _current(repository: Repository, folder: Path, patience: Patience) -> State:
    last = recorded(folder, repository.source)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return replace(_fetch(repository, last, patience), name=repository.name)
        except OSError as error:  # URLError and HTTPError among them
            if attempt == ATTEMPTS or (isinstance(error, urllib.error.HTTPError) and error.code in (403, 404, 410)):
                raise _unreachable(repository, error, last is not None) from error
            time.sleep(0.5 * attempt)
    raise AssertionError("the loop returns or raises")


def _unreachable(repository: Repository, error: OSError, has_record: bool) -> BuildError:
    reason = getattr(error, "reason", error)
    if isinstance(error, urllib.error.HTTPError):
        reason = f"{error.code} {error.reason}"
    hint = "check the mirror (DIB_DISTRIBUTION_MIRROR) and the release (--release)"
    if has_record:
        hint += "; --offline builds from what was seen last"
    if isinstance(error, ProxyError):
        return BuildError(
            f"the repository {repository.name!r} is not to be had: {error}",
            where=without_credentials(repository.source),
            hint="check http_proxy, https_proxy and no_proxy of the environment",
        )
    if isinstance(error, metalink.NoMirrorError):
        return BuildError(
            f"the repository {repository.name!r} has no mirror to build from: {reason}",
            where=without_credentials(repository.source),
            hint="build again later, or name a mirror: DIB_DISTRIBUTION_MIRROR",
        )
    return BuildError(
        f"the repository {repository.name!r} does not answer: {reason}",
        where=without_credentials(repository.source),
        hint=hint,
    )


def states(
    repositories: Sequence[Repository],
    folder: Path,
    *,
    offline: bool,
    patience: Patience = PATIENCE,
) -> tuple[State, ...]:
    """The present state of each repository, asked for all at once; with ``offline`` the one recorded in ``folder``.

    Raises BuildError where one does not answer, or was never seen and the build is offline.
    """
    if offline:
        return tuple(_offline(repository, folder) for repository in repositories)
    if not repositories:
        return ()
    with ThreadPoolExecutor(len(repositories)) as pool:
        return tuple(pool.map(lambda repository: _current(repository, folder, patience), repositories))


def _offline(repository: Repository, folder: Path) -> State:
    last = recorded(folder, repository.source)
    if last is None:
        raise BuildError(
            f"the state of the repository {repository.name!r} was never recorded",
            where=without_credentials(repository.source),
            hint="build once without --offline",
        )
    return replace(last, index=repository.index, elsewhere=repository.elsewhere, name=repository.name)


def newest_date(states: Sequence[State]) -> int:
    """The newest date among repositories in seconds since 1970; for none 1980-01-01, which all formats can hold."""
    return max((state.date for state in states if state.date), default=315532800)
