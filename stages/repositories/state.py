"""The state of package repositories: the digest and date of each signed index, one small request a repository.

State is part of the key of stages that install packages: a mirror that has not moved gives a hit, one that has moved
rebuilds from the first such stage. What a build last installed from is recorded in the store, for ``--offline``.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from blockdev.core.atomic_file import write_file
from blockdev.core.digest import digest
from blockdev.core.errors import BuildError, UsageError
from blockdev.core.typed_json import read
from stages.redaction.patterns import without_credentials
from stages.repositories.index_date import index_date

TIMEOUT = 30.0  # seconds
MIN_RATE = 1000.0  # bytes a second
ATTEMPTS = 3
PIECE = 1 << 16  # bytes
SAVED_LISTS = "repositories/lists"  # in the store: package lists of states seen (``stages.layers.package_lists``)


METALINK, MIRRORLIST = "metalink=", "mirrorlist="


@dataclass(frozen=True)
class Repository:
    """One package repository: where its signed index lies; ``elsewhere`` is where it is read instead (a snapshot).

    ``index`` is the index's own address, ``metalink=ADDRESS`` (a metalink 3.0 file that has the SHA-256 of the index),
    or ``mirrorlist=ADDRESS PATH``: a list of mirrors, a line each, below the first of which the index is at PATH.
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

    ``elsewhere`` is where it was read, where that is not ``index``; ``etag`` is what the server calls it.
    """

    index: str
    digest: str
    date: int
    elsewhere: str = ""
    etag: str = field(default="", compare=False)

    @property
    def source(self) -> str:
        """Where the signed index was read."""
        return self.elsewhere or self.index

    @property
    def shown(self) -> str:
        """The index as it may be told: without a password."""
        return without_credentials(self.index)


@dataclass(frozen=True)
class Patience:
    """How long a mirror is waited for: ``timeout`` seconds for any sign of life, then for ``rate`` bytes a second."""

    timeout: float = TIMEOUT
    rate: float = MIN_RATE

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Patience:
        """That of ``DIB_MIRROR_TIMEOUT`` and ``DIB_MIRROR_MIN_RATE``; raises UsageError where one is no number."""
        found = {}
        for name, default in (("DIB_MIRROR_TIMEOUT", TIMEOUT), ("DIB_MIRROR_MIN_RATE", MIN_RATE)):
            text = environment.get(name) or f"{default:.0f}"
            if not re.fullmatch("[1-9][0-9]{0,8}", text):
                unit = "seconds" if name.endswith("TIMEOUT") else "bytes a second"
                raise UsageError(f"{name} is {text!r}", hint=f"give a whole number of {unit} above 0")
            found[name] = float(text)
        return cls(*found.values())


def from_environment(environment: Mapping[str, str]) -> tuple[Repository, ...]:
    """The repositories that the environment names.

    Those of apt are in ``DIB_APT_SOURCES_CONF``, a line ``name:deb URI SUITE ...`` each; without it, the one of
    ``DIB_DISTRIBUTION_MIRROR`` and ``DIB_RELEASE`` of Debian and Ubuntu counts. All others are in
    ``DIB_CTR_REPOSITORIES``, a line ``NAME INDEX`` each (see :class:`Repository`); raises UsageError for another line.
    """
    found: dict[str, Repository] = {}
    for line in environment.get("DIB_APT_SOURCES_CONF", "").splitlines():
        name, _, rest = line.strip().partition(":")
        match = re.match(r"deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)", rest)
        if match:
            index = index_of(match[1], match[2])
            found.setdefault(index, Repository(name, index))
    mirror, release = environment.get("DIB_DISTRIBUTION_MIRROR", ""), environment.get("DIB_RELEASE", "")
    if not found and mirror and release and environment.get("DISTRO_NAME") in ("debian", "ubuntu"):
        index = index_of(mirror, release)
        found[index] = Repository("default", index)
    for line in environment.get("DIB_CTR_REPOSITORIES", "").splitlines():
        name, _, index = line.strip().partition(" ")
        if "://" in index:
            found.setdefault(index.strip(), Repository(name, index.strip()))
        elif name:
            raise UsageError(
                f"{line.strip()!r} names no package repository",
                where="DIB_CTR_REPOSITORIES",
                hint="NAME ADDRESS, a line each",
            )
    return tuple(found.values())


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
        told = replace(state, index=state.shown, elsewhere=without_credentials(state.elsewhere))
        if last is None or asdict(last) != asdict(told):
            write_file(_record_file(folder, state.source), json.dumps(asdict(told)))


def with_header(address: str) -> tuple[str, dict[str, str]]:
    """An address without user and password, and the header that they become, as downloaders send them."""
    parts = urlsplit(address)
    if not parts.username:
        return address, {}
    user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    header = {"Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"}
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])), header


def open_address(address: str, timeout: float = TIMEOUT, **headers: str) -> Any:
    """An answer of a repository's server, to read from; raises OSError."""
    plain, own = with_header(address)
    asked = urllib.request.Request(plain, headers={"User-Agent": "dib-ctr", **own, **headers})
    return urllib.request.urlopen(asked, timeout=timeout)


def _read(address: str, patience: Patience, **headers: str) -> tuple[bytes, str]:
    """What lies at an address, whole, and its ETag; raises OSError where it does not come, or too slowly."""
    started, data = time.monotonic(), bytearray()
    try:
        with open_address(address, patience.timeout, **headers) as answer:
            expected = answer.headers.get("Content-Length")
            while piece := answer.read1(PIECE):
                data += piece
                waited = time.monotonic() - started
                if waited > patience.timeout and len(data) < waited * patience.rate:
                    raise OSError(f"it sends less than {patience.rate:.0f} bytes a second")
            etag: str = answer.headers.get("ETag", "")
    except http.client.HTTPException as error:
        raise OSError(f"its answer is no whole one ({type(error).__name__})") from error
    if expected is not None and len(data) < int(expected):
        raise OSError(f"its answer ends after {len(data)} of {expected} bytes")
    if data.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        raise OSError("it answers with a web page")
    return bytes(data), etag


def _fetch(repository: Repository, last: State | None, patience: Patience) -> State:
    address = repository.source
    if address.startswith(MIRRORLIST):
        address = first_mirror(address.removeprefix(MIRRORLIST), patience)
    headers = {"Cache-Control": "no-cache"}
    if last and last.etag and address == repository.source:
        headers["If-None-Match"] = last.etag
    try:
        data, etag = _read(address.removeprefix(METALINK), patience, **headers)
    except urllib.error.HTTPError as error:
        if error.code == 304 and last:
            return replace(last, index=repository.index, elsewhere=repository.elsewhere)
        raise
    if address.startswith(METALINK):
        sum_, date = _told_by_metalink(data)
        return State(repository.index, sum_, date, repository.elsewhere, etag)
    date = index_date(address, data)
    return State(repository.index, hashlib.sha256(data).hexdigest(), date, repository.elsewhere, etag)


def first_mirror(listed: str, patience: Patience) -> str:
    """Where the index is below the first mirror of the list at ``ADDRESS``, by ``ADDRESS PATH``; raises OSError."""
    address, _, path = listed.partition(" ")
    lines = _read(address, patience)[0].decode("utf-8", "replace").splitlines()
    mirror = next((line.strip() for line in lines if "://" in line and not line.lstrip().startswith("#")), "")
    if not mirror:
        raise OSError(f"the mirror list has no mirror: {' '.join(lines)[:200]}")
    return f"{mirror.rstrip('/')}/{path.strip().lstrip('/')}"


def _told_by_metalink(data: bytes) -> tuple[str, int]:
    """The SHA-256 of the newest index that a metalink tells of, and its date in seconds; raises OSError."""
    text = data.decode("utf-8", "replace")
    sum_ = re.search(r'<hash type="sha256">\s*([0-9a-f]{64})\s*</hash>', text)
    date = re.search(r"<mm0:timestamp>\s*(\d+)", text)
    if sum_ is None:
        raise OSError("the metalink has no SHA-256 of the repository's index")
    return sum_[1], int(date[1]) if date else 0


def _current(repository: Repository, folder: Path, patience: Patience) -> State:
    last = recorded(folder, repository.source)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _fetch(repository, last, patience)
        except OSError as error:  # URLError and HTTPError among them
            if attempt == ATTEMPTS or (isinstance(error, urllib.error.HTTPError) and error.code in (403, 404, 410)):
                raise _unreachable(repository, error, last is not None) from error
            time.sleep(0.5 * attempt)
    raise AssertionError("the loop returns or raises")


def _unreachable(repository: Repository, error: OSError, known: bool) -> BuildError:
    reason = getattr(error, "reason", error)
    if isinstance(error, urllib.error.HTTPError):
        reason = f"{error.code} {error.reason}"
    hint = "check the mirror (DIB_DISTRIBUTION_MIRROR) and the release (--release)"
    if known:
        hint += "; --offline builds from what was seen last"
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
    patience: Patience = Patience(),
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
    return replace(last, index=repository.index, elsewhere=repository.elsewhere)


def newest_date(found: Sequence[State]) -> int:
    """The newest date among repositories in seconds since 1970; for none 1980-01-01, which all formats can hold."""
    return max((state.date for state in found if state.date), default=315532800)
