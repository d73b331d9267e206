"""The states of the repositories that a request builds from: the mirrors' present ones, a snapshot's, or a lock's."""

from __future__ import annotations

from pathlib import Path

from stages import repositories
from stages.repositories import State
from stages.request import Request

ADDRESSES = "DIB_CTR_SNAPSHOT_ADDRESSES"  # what stands for what during a build, for the element debootstrap


def states(request: Request, environment: dict[str, str], folder: Path) -> tuple[State, ...]:
    """The state of each repository that the environment names; what follows from it is added to the environment.

    ``folder`` is where the states seen last are recorded. Raises BuildError or UsageError.
    """
    known = repositories.from_environment(environment)
    locking = request.locking
    used = locking.used
    if used is not None:
        from stages import replay

        found = replay.states(known, used)
        environment["SOURCE_DATE_EPOCH"] = str(used.epoch)
        return found
    if locking.snapshot:
        from stages import snapshot

        known = snapshot.at(known, locking.snapshot, locking.scheme, offline=request.offline)
        environment[ADDRESSES] = snapshot.replacements(known)
    found = repositories.states(known, folder, offline=request.offline)
    environment.setdefault("SOURCE_DATE_EPOCH", str(repositories.newest_date(found)))
    return found
