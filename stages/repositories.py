"""The state of package repositories: the digest and date of each signed index, one small request a repository.

State is part of the key of stages that install packages: a mirror that has not moved gives a hit, one that has moved
rebuilds from the first such stage. What was seen last is recorded in the store, for ``--offline``.
"""

from __future__ import annotations

import email.utils
import hashlib
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from stages.errors import BuildError
from stages.key import digest
from stages.store import write_file

TIMEOUT = 30.0  # seconds
ATTEMPTS = 3


@dataclass(frozen=True)
class Repository:
    """One package repository: where its signed index lies."""

    name: str
    index: str


@dataclass(frozen=True)
class State:
    """What a repository's signed index was: its SHA-256 and its date in seconds since 1970 (0: it says none)."""

    index: str
    digest: str
    date: int


def from_environment(environment: Mapping[str, str]) -> tuple[Repository, ...]:
    """The apt repositories that the environment names in ``DIB_APT_SOURCES_CONF`` (``name:deb URI SUITE ...``).

    Without it, the one of ``DIB_DISTRIBUTION_MIRROR`` and ``DIB_RELEASE``. A suite ending in ``/`` is flat.
    """
    found: dict[str, Repository] = {}
    for line in environment.get("DIB_APT_SOURCES_CONF", "").splitlines():
        name, _, rest = line.strip().partition(":")
        match = re.match(r"deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)", rest)
        if match:
            index = _index(match[1], match[2])
            found.setdefault(index, Repository(name, index))
    mirror, release = environment.get("DIB_DISTRIBUTION_MIRROR", ""), environment.get("DIB_RELEASE", "")
    if not found and mirror and release and environment.get("DISTRO_NAME") in ("debian", "ubuntu"):
        index = _index(mirror, release)
        found[index] = Repository("default", index)
    return tuple(found.values())


def _index(uri: str, suite: str) -> str:
    if suite.endswith("/"):
        return f"{uri.rstrip('/')}/{suite.strip('/')}/InRelease".replace("/./", "/")
    return f"{uri.rstrip('/')}/dists/{suite}/InRelease"


def index_date(text: str) -> int:
    """The ``Date`` field of a Release file in seconds since 1970, or 0."""
    match = re.search(r"^Date: (.+)$", text, re.MULTILINE)
    if not match:
        return 0
    try:
        return int(email.utils.parsedate_to_datetime(match[1]).timestamp())
    except ValueError:
        return 0


def _record_file(folder: Path, index: str) -> Path:
    return folder / f"{digest(index)[:24]}.json"


def recorded(folder: Path, index: str) -> tuple[State, str] | None:
    """The state last seen of an index and its ETag, or None."""
    try:
        data = json.loads(_record_file(folder, index).read_text(encoding="utf-8"))
        return State(data["index"], data["digest"], data["date"]), data.get("etag", "")
    except (OSError, ValueError, KeyError):
        return None


def _fetch(index: str, last: tuple[State, str] | None) -> tuple[State, str]:
    headers = {"User-Agent": "dib-ctr", "Cache-Control": "no-cache"}
    if last and last[1]:
        headers["If-None-Match"] = last[1]
    try:
        with urllib.request.urlopen(urllib.request.Request(index, headers=headers), timeout=TIMEOUT) as answer:
            data = answer.read()
            etag = answer.headers.get("ETag", "")
    except urllib.error.HTTPError as error:
        if error.code == 304 and last:
            return last
        raise
    return State(index, hashlib.sha256(data).hexdigest(), index_date(data.decode("utf-8", "replace"))), etag


def _current(repository: Repository, folder: Path) -> State:
    last = recorded(folder, repository.index)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            state, etag = _fetch(repository.index, last)
            break
        except OSError as error:  # URLError and HTTPError among them
            if attempt == ATTEMPTS or (isinstance(error, urllib.error.HTTPError) and error.code in (403, 404, 410)):
                raise _unreachable(repository, error, last is not None) from error
            time.sleep(0.5 * attempt)
    if last is None or (state, etag) != last:
        content = {"index": state.index, "digest": state.digest, "date": state.date, "etag": etag}
        write_file(_record_file(folder, repository.index), json.dumps(content))
    return state


def _unreachable(repository: Repository, error: OSError, known: bool) -> BuildError:
    reason = getattr(error, "reason", error)
    if isinstance(error, urllib.error.HTTPError):
        reason = f"{error.code} {error.reason}"
    hint = "check the mirror (DIB_DISTRIBUTION_MIRROR) and the release (--release)"
    if known:
        hint += "; --offline builds from what was seen last"
    return BuildError(
        f"the repository {repository.name!r} does not answer: {reason}", where=repository.index, hint=hint
    )


def states(repositories: Sequence[Repository], folder: Path, *, offline: bool) -> tuple[State, ...]:
    """The present state of each repository, asked for all at once; with ``offline`` the one recorded in ``folder``.

    Raises BuildError where one does not answer, or was never seen and the build is offline.
    """
    if offline:
        return tuple(_offline(repository, folder) for repository in repositories)
    if not repositories:
        return ()
    with ThreadPoolExecutor(len(repositories)) as pool:
        return tuple(pool.map(lambda repository: _current(repository, folder), repositories))


def _offline(repository: Repository, folder: Path) -> State:
    last = recorded(folder, repository.index)
    if last is None:
        raise BuildError(
            f"the state of the repository {repository.name!r} was never recorded",
            where=repository.index,
            hint="build once without --offline",
        )
    return last[0]


def newest_date(found: Sequence[State]) -> int:
    """The newest date among repositories in seconds since 1970; for none 1980-01-01, which all formats can hold."""
    return max((state.date for state in found if state.date), default=315532800)
