"""What a build does about locks, step by step: nothing for most, so what each step needs is imported only then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from blockdev.core.errors import BuildError
from stages.element.source_repositories import Source
from stages.layers.store import Store
from stages.plan.plan import Plan
from stages.protocol import events
from stages.protocol.control import Control
from stages.protocol.emit import emit
from stages.protocol.request import Request
from stages.repositories import source_state
from stages.repositories import state as repositories
from stages.repositories.download import Patience
from stages.repositories.source_state import SourceQuery, SourceState
from stages.repositories.state import SAVED_LISTS, State

if TYPE_CHECKING:
    from stages.layers.builder import Builder
    from stages.protocol.lock_record import Used


def _used(request: Request) -> Used | None:
    """What a request says must be used, or None where it locks nothing."""
    if not request.locking.locked:
        return None
    from stages.protocol.lock_record import Used

    return Used.from_json(dict(request.locking.locked))


def prepare(request: Request, store: Store, control: Control, builder: Builder) -> None:
    """Before the first stage of a locked build: bring together what it needs; raises BuildError for what is gone."""
    used = _used(request)
    if request.locking.report or used is not None:
        store.pin(f"cache/apt/{request.arch}", SAVED_LISTS)
    if used is None:
        return
    from stages.lock.replay import Replay

    if used.build_image != request.image:
        emit(events.Note(text="the build image is another one than the lock's: its tools may be other versions"))
    replay = Replay(used, request.locking, store, control, request.arch, request.offline)
    builder.lists = replay.prepare(builder)
    builder.locked = replay.entries()


def save_lists(request: Request, store: Store, plan: Plan, builder: Builder, chain: tuple[str, ...]) -> None:
    """After stages that installed packages have run, here or elsewhere: keep the package lists that they used."""
    new = {*builder.ran, *builder.fetched}
    if not request.locking.report and not any(stage.packages for stage in plan.stages if stage.key in new):
        return
    from stages.layers.package_lists import SavedLists
    from stages.lock.collect import LockCollector

    SavedLists(store).save(LockCollector(request, plan, store, chain).signed_indices())


def settle(request: Request, store: Store, plan: Plan, chain: tuple[str, ...]) -> Iterator[events.Event]:
    """After the tree is made: check it against the request's lock; events for what the request asks.

    Raises BuildError for packages that are not the lock's.
    """
    locking = request.locking
    locked = _used(request)
    if not locking.report and locked is None:
        return
    from stages.lock import replay
    from stages.lock.collect import LockCollector

    account = LockCollector(request, plan, store, chain)
    used = account.used()
    if locked is not None:
        replay.check(locked, used.packages)
    if locking.report:
        yield events.Used(used=used.to_json())
    if locking.vendor:
        yield events.Vendor(path=str(account.vendored(used)))


BASE_DATE = "DIB_CTR_BASE_DATE"  # when the image that a build begins with was made, in seconds since 1970
ADDRESSES = "DIB_CTR_SNAPSHOT_ADDRESSES"  # what stands for what during a build, for the element debootstrap


def states(request: Request, environment: dict[str, str], folder: Path, *, asking: bool = True) -> tuple[State, ...]:
    """The state of each repository that the environment names; what follows from it is added to the environment.

    ``folder`` is where the states seen last are recorded. Without ``asking`` none is asked for: the date is then that
    of the image that the build begins with. Raises BuildError or UsageError.
    """
    if not asking:
        environment.setdefault("SOURCE_DATE_EPOCH", environment.get(BASE_DATE) or str(repositories.newest_date(())))
    asked = repositories.from_environment(environment) if asking else []
    locking = request.locking
    used = _used(request)
    if used is not None:
        from stages.lock import replay

        result = replay.states(asked, used)
        environment["SOURCE_DATE_EPOCH"] = str(used.epoch)
        return result
    if locking.snapshot:
        from stages.repositories import snapshot

        asked = snapshot.at(asked, locking.snapshot, locking.scheme, offline=request.offline)
        environment[ADDRESSES] = snapshot.replacements(asked)
    result = repositories.states(asked, folder, offline=request.offline, patience=Patience.of(environment))
    environment.setdefault("SOURCE_DATE_EPOCH", str(repositories.newest_date(result)))
    return result


def sources(request: Request, asked: Sequence[Source], question: SourceQuery) -> tuple[SourceState, ...]:
    """The state of each source repository: the present one, or a lock's. Raises BuildError or UsageError."""
    used = _used(request)
    if used is not None:
        return source_state.locked(asked, used.sources)
    return source_state.states(asked, question)


def moved(request: Request, seen: Iterable[SourceState], question: SourceQuery) -> bool:
    """Has any of these source repositories moved; BuildError where that is not what the request's lock says."""
    moved_states = source_state.moved(seen, question)
    if moved_states and request.locking.locked:
        state = min(moved_states, key=lambda state: state.source.where)
        raise BuildError(
            f"the source repository {state.source} is not what the lock says",
            where=state.source.where,
            hint="restore what lies there, or make a new lock: --lock FILE",
        )
    return bool(moved_states)
