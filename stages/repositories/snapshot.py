"""Snapshot services: servers that keep every past state of a package archive under its time stamp.

Where such a server is, and how its addresses are made, is a setting or told by the repository itself; no server is
known here.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from blockdev.core.errors import UsageError
from stages.repositories.apt_lists import archive_of
from stages.repositories.download import open_address
from stages.repositories.state import Repository

VARIABLE = "DIB_CTR_SNAPSHOT_URL"
FIELD = re.compile(r"^Snapshots: *(\S+)", re.MULTILINE)
STAMP = "%Y%m%dT%H%M%SZ"


def timestamp(text: str) -> str:
    """A time as ``20261101T000000Z``, given so or in ISO 8601 (a date alone means its first second, UTC).

    Raises UsageError for anything else, and for a time that has not come yet.
    """
    try:
        time = datetime.fromisoformat(text)  # it takes both forms
    except ValueError as error:
        hint = "--snapshot 20261101T000000Z, or --snapshot 2026-11-01"
        raise UsageError(f"{text!r} is no time of a snapshot", hint=hint) from error
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    if time > datetime.now(UTC):
        raise UsageError(f"the snapshot {text} lies in the future", hint="give a time that has passed")
    return time.strftime(STAMP)


def check_scheme(scheme: str) -> str:
    """A scheme of addresses, if it is one: raises UsageError else."""
    if not re.match(r"(https?|file)://", scheme) or "{timestamp}" not in scheme:
        raise UsageError(
            f"{scheme!r} does not say where snapshots are",
            where=VARIABLE,
            hint=f"{VARIABLE}=https://SERVER/archive/{{archive}}/{{timestamp}}",
        )
    return scheme.rstrip("/")


def snapshot_of(archive: str, scheme: str, time: str) -> str:
    """The address of an archive's snapshot: ``{archive}`` is the last part of the archive's own address."""
    name = archive.rstrip("/").rpartition("/")[2]
    return scheme.replace("{archive}", name).replace("{timestamp}", time).rstrip("/")


def _scheme_of(repository: Repository) -> str:
    """The scheme that a repository itself names, or ""."""
    try:
        with open_address(repository.index) as answer:
            text = answer.read().decode("utf-8", "replace")
    except OSError:
        return ""
    field = FIELD.search(text)
    return field[1].replace("@SNAPSHOTID@", "{timestamp}") if field and "@SNAPSHOTID@" in field[1] else ""


def at(repositories: Sequence[Repository], time: str, scheme: str, *, offline: bool = False) -> tuple[Repository, ...]:
    """The repositories as the snapshot of ``time`` has them: the same ones, read elsewhere.

    Without a ``scheme`` each repository's own is taken; raises UsageError where one names none.
    """
    result = []
    for repository in repositories:
        archive = archive_of(repository.index)
        if repository.index.startswith(f"{archive}/InRelease"):  # flat: no archive that a service has
            result.append(repository)
            continue
        own = check_scheme(scheme) if scheme else "" if offline else _scheme_of(repository)
        if not own:
            raise UsageError(
                f"where snapshots of the repository {repository.name!r} are is not known",
                where=repository.index,
                hint=f"{VARIABLE}=https://SERVER/archive/{{archive}}/{{timestamp}} (the braces stay as they are)",
            )
        elsewhere = snapshot_of(archive, own, time) + repository.index.removeprefix(archive)
        result.append(dataclasses.replace(repository, elsewhere=elsewhere))
    return tuple(result)


def replacements(repositories: Iterable[Repository]) -> str:
    """Which archive's address stands for which during a build: lines ``OWN ELSEWHERE``."""
    pairs = {archive_of(each.index): archive_of(each.elsewhere) for each in repositories if each.elsewhere}
    return "".join(f"{own} {elsewhere}\n" for own, elsewhere in sorted(pairs.items()))
