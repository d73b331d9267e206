"""The state of source repositories: the commit that a git reference names now, what a server says of a file.

Like that of package repositories (``stages.repositories.state``) it is part of the key of the stages that fetch them.
What was seen last is recorded in the store, for ``--offline``. A commit that every git server hands out is what the
stage fetches, whatever the branch names by then; all else is asked once more after the stage has run.
"""

from __future__ import annotations

import json
import os
import re
import time
import urllib.error
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from blockdev.core import tools
from blockdev.core.atomic_file import write_file
from blockdev.core.digest import digest
from blockdev.core.errors import BuildError, UsageError
from blockdev.core.suggest import nearest
from blockdev.core.typed_json import Struct, read
from stages.element.environment import SERVICES
from stages.element.source_repositories import ALL_REFS, Source, given_below, local_path
from stages.protocol.locking import COMMIT
from stages.repositories import http_validators
from stages.repositories.http_validators import TIMEOUT

ATTEMPTS = 3
AT_ONCE = 16
PERMANENT = (401, 403, 404, 410)
# How git finds a short name at a server, first to last.
RULES = ("{}", "refs/{}", "refs/tags/{}", "refs/heads/{}", "refs/remotes/{}", "refs/remotes/{}/HEAD")
HEAD_BRANCH = "HEAD is"
FETCHABLE = ("refs/heads/", "refs/tags/")  # what every fetch brings along


@dataclass(frozen=True)
class SourceState:
    """What a source repository was: ``state`` is a commit, or a text that changes when the content does.

    ``commit`` is the commit that the stage must use, where one is known and can be fetched by its name.
    """

    source: Source
    state: str
    commit: str = ""

    def to_lock(self) -> dict[str, str]:
        """What a lock says of it, without passwords."""
        source = self.source
        what = {"name": source.name, "type": source.kind, "location": source.shown, "ref": source.ref}
        return {**what, "commit": self.commit} if self.commit else {**what, "state": self.state}


@dataclass(frozen=True)
class SourceQuery:
    """How states are asked: with these variables (proxies), and where (``folder``) answers are recorded.

    ``given`` are the files of the user's machine that the build has, path to SHA-256; ``hidden`` the folders of the
    machine that scripts cannot see (without a leading slash).
    """

    environment: Mapping[str, str]
    folder: Path
    given: Mapping[str, str]
    offline: bool = False
    hidden: tuple[str, ...] = ()


def states(sources: Sequence[Source], question: SourceQuery) -> tuple[SourceState, ...]:
    """The present state of each, all asked at once; offline the one recorded.

    Raises BuildError where one does not answer, has no such reference, or was never seen and the build is offline.
    """
    if not sources:
        return ()
    with ThreadPoolExecutor(min(AT_ONCE, len(sources))) as pool:
        return without_conflicts(tuple(pool.map(lambda source: _state(source, question), sources)))


def locked(sources: Iterable[Source], locked_sources: Iterable[Mapping[str, str]]) -> tuple[SourceState, ...]:
    """The states that a lock has of these; UsageError naming one that it does not know."""
    entries = {tuple(each[part] for part in ("name", "type", "location", "ref")): each for each in locked_sources}
    result = []
    for source in sources:
        entry = entries.get((source.name, source.kind, source.shown, source.ref))
        if entry is None:
            raise UsageError(
                f"the lock does not know the source repository {source}",
                where=source.where,
                hint="build from the sources that the lock was made with, or make a new one: --lock FILE",
            )
        commit = entry.get("commit", "")
        result.append(SourceState(source, commit or entry["state"], commit))
    return tuple(result)


def moved(seen: Iterable[SourceState], question: SourceQuery) -> tuple[SourceState, ...]:
    """Which of these are something else now; those whose stage was told a commit cannot be."""
    asked = [state for state in seen if not state.commit]
    now = states([state.source for state in asked], question)
    return tuple(before for before, after in zip(asked, now, strict=True) if before.state != after.state)


def pins(seen: Iterable[SourceState]) -> dict[str, str]:
    """The variables that tell a stage which commits to use; none where two repositories of one name differ."""
    commits: dict[str, set[str]] = {}
    for state in seen:
        commits.setdefault(state.source.ref_variable, set()).add(state.commit)
    return {
        name: next(iter(seen_commits))
        for name, seen_commits in commits.items()
        if len(seen_commits) == 1 and "" not in seen_commits
    }


def without_conflicts(seen: Sequence[SourceState]) -> tuple[SourceState, ...]:
    """The states, where two repositories of one name differ without commits: no variable could tell the stage both."""
    pinned = pins(seen)
    return tuple(state if state.source.ref_variable in pinned else replace(state, commit="") for state in seen)


def _state(source: Source, question: SourceQuery) -> SourceState:
    path = local_path(source.location)
    if files := given_below(path, question.given):
        return SourceState(source, digest(json.dumps(files, sort_keys=True)))
    hidden = path.startswith(tuple(f"/{folder}/" for folder in question.hidden)) or not Path(path).exists()
    if path and hidden and not question.offline:
        raise _out_of_sight(source)
    if source.kind == "git" and re.match(COMMIT, source.ref):
        return SourceState(source, source.ref, source.ref)
    record = question.folder / f"{digest(f'{source.kind} {source.shown} {source.ref}')[:24]}.json"
    if question.offline:
        return _recorded(source, record)
    state = _asked(source, question.environment)
    write_file(record, json.dumps(vars(_Seen(state=state.state, commit=state.commit, location=source.shown))))
    return state


def _out_of_sight(source: Source) -> BuildError:
    return BuildError(
        f"the source repository {source.name!r} is at {source.shown}, which scripts cannot see",
        where=source.where,
        hint=f"a build takes along what {source.location_variable} names ({source.shown}), up to 64 MiB and 10000 "
        "files: a git clone --bare of it has few; else serve it by HTTP",
    )


class _Seen(Struct):
    """What is kept of a state for builds without a network; ``location`` is for a person."""

    state: str
    commit: str
    location: str = ""


def _recorded(source: Source, record: Path) -> SourceState:
    try:
        seen = read(_Seen, json.loads(record.read_text(encoding="utf-8")))
        return SourceState(source, seen.state, seen.commit)
    except (OSError, ValueError):
        raise BuildError(
            f"the state of the source repository {source.name!r} was never recorded",
            where=source.where,
            hint="build once without --offline",
        ) from None


def _asked(source: Source, environment: Mapping[str, str]) -> SourceState:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _git(source, environment) if source.kind == "git" else _file(source, environment)
        except OSError as error:  # HTTPError, URLError and GitError among them
            if attempt == ATTEMPTS or (isinstance(error, urllib.error.HTTPError) and error.code in PERMANENT):
                raise _unreachable(source, error) from error
            time.sleep(0.5 * attempt)
    raise AssertionError


def _unreachable(source: Source, error: OSError) -> BuildError:
    reason = str(getattr(error, "reason", error))
    if isinstance(error, urllib.error.HTTPError):
        reason = f"{error.code} {error.reason}"
    return BuildError(
        f"the source repository {source.name!r} ({source.shown}) does not answer: {reason}",
        where=source.where,
        hint=f"look whether it is there; --set {source.location_variable}=LOCATION names another one",
    )


def _file(source: Source, environment: Mapping[str, str]) -> SourceState:
    try:
        return SourceState(source, http_validators.seen(source.location, environment))
    except ValueError as error:
        raise BuildError(
            f"the source repository {source.name!r} has the location {source.shown!r}, which is no address",
            where=source.where,
        ) from error


# -- git ------------------------------------------------------------------------------------------------------------


class GitError(OSError):
    """git could not ask; the message is its own."""


def _git(source: Source, environment: Mapping[str, str]) -> SourceState:
    patterns = ["HEAD", "refs/heads/*", "refs/tags/*"] if source.ref == ALL_REFS else [source.ref, f"{source.ref}^{{}}"]
    refs = _ls_remote(source.location, patterns, environment)
    if source.ref == ALL_REFS:
        return SourceState(source, digest(json.dumps(refs, sort_keys=True)))
    names = [rule.format(source.ref) for rule in RULES]
    full = next((name for name in names if name in refs), "")
    if not full:
        raise _no_such_ref(source, environment)
    commit = refs.get(f"{full}^{{}}", refs[full])
    fetchable = full.startswith(FETCHABLE) or full == "HEAD"
    return SourceState(source, commit, commit if fetchable else "")


def _no_such_ref(source: Source, environment: Mapping[str, str]) -> BuildError:
    refs = _ls_remote(source.location, ["HEAD", "refs/heads/*", "refs/tags/*"], environment)
    short = [name.split("/", 2)[2] for name in refs if name.startswith(FETCHABLE) and not name.endswith("^{}")]
    other = refs.get(HEAD_BRANCH, "").removeprefix("refs/heads/") or (short[0] if short else "REF")
    return BuildError(
        f"the source repository {source.name!r} ({source.shown}) has no reference {source.ref!r}",
        where=source.where,
        hint=nearest(source.ref, short) or f"--set {source.ref_variable}={other}",
    )


def _ls_remote(location: str, patterns: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """The references of a git repository that end in one of these patterns, with what they name; raises GitError.

    ``HEAD_BRANCH`` among them is the branch that HEAD stands for.
    """
    own = {name: os.environ[name] for name in ("PATH", "SSL_CERT_FILE", "SSL_CERT_DIR") if name in os.environ}
    quiet = {"HOME": "/nonexistent", "LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1"}
    proxies = {name: environment[name] for name in SERVICES if name != "DIB_OFFLINE" and environment.get(name)}
    if tools.locate("git") is None:
        raise BuildError("git is not there where the build runs", hint="install git")
    command = ["git", "ls-remote", "--quiet", "--symref", "--", location, *patterns]
    try:
        done = tools.run(command, env={**own, **quiet, **proxies}, seconds=TIMEOUT)
    except tools.TimeoutExpired as error:
        message = f"no answer within {TIMEOUT:.0f} seconds"
        raise GitError(message) from error
    if done.status != 0:
        complaints = done.errors.strip().splitlines() or [f"git: status {done.status}"]
        fatal = [line.removeprefix("fatal: ") for line in complaints if line.startswith("fatal: ")]
        raise GitError((fatal or complaints)[0])
    lines = (line.split("\t") for line in done.text.splitlines())
    refs = {}
    for value, name in (fields for fields in lines if len(fields) == 2):
        branch = value.removeprefix("ref: ")
        refs[name if branch == value else f"{name} is"] = branch
    return refs
