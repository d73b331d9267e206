"""The states of the repositories that a request builds from: the mirrors' present ones, a snapshot's, or a lock's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from blockdev.core.errors import BuildError
from stages.element.source_repositories import Source
from stages.protocol.request import Request
from stages.repositories import source_state
from stages.repositories import state as repositories
from stages.repositories.source_state import SourceQuery, SourceState
from stages.repositories.state import State

ADDRESSES = "DIB_CTR_SNAPSHOT_ADDRESSES"  # what stands for what during a build, for the element debootstrap


def states(request: Request, environment: dict[str, str], folder: Path) -> tuple[State, ...]:
    """The state of each repository that the environment names; what follows from it is added to the environment.

    ``folder`` is where the states seen last are recorded. Raises BuildError or UsageError.
    """
    known = repositories.from_environment(environment)
    locking = request.locking
    used = locking.used
    if used is not None:
        from stages.lock import replay

        found = replay.states(known, used)
        environment["SOURCE_DATE_EPOCH"] = str(used.epoch)
        return found
    if locking.snapshot:
        from stages.repositories import snapshot

        known = snapshot.at(known, locking.snapshot, locking.scheme, offline=request.offline)
        environment[ADDRESSES] = snapshot.replacements(known)
    found = repositories.states(known, folder, offline=request.offline, patience=repositories.Patience.of(environment))
    environment.setdefault("SOURCE_DATE_EPOCH", str(repositories.newest_date(found)))
    return found


def sources(request: Request, wanted: Sequence[Source], question: SourceQuery) -> tuple[SourceState, ...]:
    """The state of each source repository: the present one, or a lock's. Raises BuildError or UsageError."""
    used = request.locking.used
    if used is not None:
        return source_state.locked(wanted, used.sources)
    return source_state.states(wanted, question)


def moved(request: Request, seen: Iterable[SourceState], question: SourceQuery) -> bool:
    """Has any of these source repositories moved; BuildError where that is not what the request's lock says."""
    found = source_state.moved(seen, question)
    if found and request.locking.used is not None:
        state = min(found, key=lambda state: state.source.where)
        raise BuildError(
            f"the source repository {state.source} is not what the lock says",
            where=state.source.where,
            hint="restore what lies there, or make a new lock: --lock FILE",
        )
    return bool(found)
