"""The command ``build``: the tree, its outputs, and again where a mirror moved or a layer was damaged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from blockdev.core.errors import BuildError
from stages.agent.plan_request import plan_request, source_query
from stages.agent.work import Work
from stages.element.cache_rules import read_cache_rules
from stages.element.hooks import HooksTree
from stages.layers.builder import Builder
from stages.layers.later_scripts import LaterScripts
from stages.layers.layer_digests import DamagedError
from stages.lock import steps as locked
from stages.outputs.delivery import deliver
from stages.outputs.exporter import Exporter
from stages.outputs.finished_tree import FinishedTree, layer_titles
from stages.outputs.side_files import side_files
from stages.plan import breakpoints
from stages.plan.plan import Plan
from stages.protocol import events
from stages.protocol.emit import emit
from stages.remote_cache import steps as sharing
from stages.repositories import state as repositories
from stages.repositories.state import MirrorMovedError
from stages.sandbox import foreign

if TYPE_CHECKING:
    from stages.remote_cache.exporter import Packer
    from stages.remote_cache.importer import RemoteCacheImporter


REPLANS = 3  # how often a mirror may move while a build installs from it


REBUILDS = 3  # how often layers may turn out to be damaged


def rows(builder: Builder) -> list[events.PlannedStage]:
    """The plan's stages as the ``plan`` event lists them."""
    return [
        events.PlannedStage(
            number=stage.number,
            phase=stage.phase.name,
            element=stage.script.element,
            script=stage.name,
            where="inside" if stage.phase.inside else "outside",
            key=stage.key,
            hit=hit,
            why=why,
        )
        for stage, hit, why in builder.look()
    ]


def builder_of(work: Work, plan: Plan, plan_anew: Callable[[Mapping[str, HooksTree]], Plan]) -> Builder:
    builder = Builder(
        work.request, plan, work.store, work.scratch, work.control, read_cache_rules(work.elements), work.host_files
    )
    builder.later = LaterScripts(plan_anew)
    builder.on_planned = lambda: emit(events.Plan(stages=rows(builder)))
    builder.digests = work.digests_with(work.redaction(plan.environment))
    return builder


def _forget(work: Work, builder: Builder) -> None:
    """Let go of what this build has made: it may be of another state than its keys say."""
    for key in builder.ran:
        work.store.forget(key)


def _check_sources(work: Work, plan: Plan, builder: Builder) -> None:
    """After stages that fetched source repositories have run: these must be what the plan saw."""
    fetched = {state for stage in plan.stages if stage.key in builder.ran for state in stage.sources}
    if work.request.offline or not locked.moved(work.request, fetched, source_query(work, plan.environment)):
        return
    _forget(work, builder)
    raise MirrorMovedError


def _present(work: Work, plan: Plan) -> dict[str, str]:
    """The repositories' present digests, by address; a lock's states are where they are. Raises BuildError."""
    present = locked.states(work.request, dict(plan.environment), work.store.root / "repositories")
    return {state.shown: state.digest for state in present}


def _check_mirrors(work: Work, plan: Plan, builder: Builder) -> None:
    """After stages that installed packages have run: the mirrors must still be where the plan saw them."""
    if not any(stage.packages for stage in plan.stages if stage.key in builder.ran) or builder.met.proven:
        return
    now = {} if work.request.offline else _present(work, plan)
    for stage in plan.stages:
        if any(stage.inputs.get(f"repository {index}", value) != value for index, value in now.items()):
            _forget(work, builder)
            raise MirrorMovedError


@contextmanager
def _remembering(work: Work, plan: Plan, builder: Builder) -> Iterator[None]:
    """Record the repositories' states once a stage has installed from them, or the build needs nothing of them.

    Not before: what a mirror says whose lists nobody could use is no state that ``--offline`` can build from.
    """
    finished = False
    try:
        yield
        finished = True
    finally:
        kept = {name.partition(".")[0] for name in builder.kept}
        installed = any(stage.packages and stage.key in kept for stage in plan.stages)
        if (finished or installed) and not work.request.offline and not work.request.locking.locked:
            repositories.remember(plan.repositories, work.store.root / "repositories")


def build_tree(work: Work, packer: Packer | None = None) -> Built:
    """Plan and build up to the request's stop; again from the start where a mirror moves meanwhile."""
    foreign.ensure(work.request.arch, work.scratch / "binfmt")
    for attempt in range(1, REPLANS + 1):
        builder = builder_of(work, *plan_request(work))
        builder.foresee()
        plan = builder.plan
        if packer:
            builder.on_kept = partial(sharing.pack, packer, builder.digests)
        for sentence in breakpoints.check(plan, work.request.breaks):
            emit(events.Note(text=sentence))
        stop = plan.find(work.request.stop_at) if work.request.stop_at else None
        last = stop.number - 1 if stop else len(plan.stages)
        elsewhere = sharing.look(work.request, work.store, work.control, builder, plan.stages[:last])
        plan = builder.cut_off()
        stages = plan.stages[:last]
        emit(events.Plan(stages=rows(builder)))
        if elsewhere and sharing.needs_no_tree(work.request, work.store, work.scratch, plan, elsewhere):
            builder.pass_over()
            with _remembering(work, plan, builder):
                return Built(plan, builder, elsewhere.chain, elsewhere, only_looked=True)
        if elsewhere:
            elsewhere.fetch(stages)
            if builder.foresee():  # what came has left scripts for later phases
                plan = builder.cut_off()
                emit(events.Plan(stages=rows(builder)))
        locked.prepare(work.request, work.store, work.control, builder)
        try:
            builder.present = partial(_present, work, plan)
            with _remembering(work, plan, builder):
                chain = builder.build(stop)
                plan = builder.plan
            _check_mirrors(work, plan, builder)
            _check_sources(work, plan, builder)
            locked.save_lists(work.request, work.store, plan, builder, chain)
        except MirrorMovedError:
            if not builder.met.proven:
                _forget(work, builder)
            if attempt < REPLANS:
                emit(events.Note(text="a repository moved during the build: planning again from its new state"))
            continue
        return Built(plan, builder, chain, elsewhere)
    raise BuildError(
        "the repositories keep moving while the build takes from them",
        hint="try again later, or name a mirror that stands still",
    )


@dataclass(frozen=True)
class Built:
    """A tree: its plan, who built it, its layers (lowest first), and what caches elsewhere have of it.

    ``only_looked``: all layers are known, and some of them are elsewhere.
    """

    plan: Plan
    builder: Builder
    chain: tuple[str, ...]
    elsewhere: RemoteCacheImporter | None = None
    only_looked: bool = False


def build(work: Work) -> None:
    """The command ``build``: tree and outputs."""
    started, free = time.monotonic(), work.store.free()[0]
    if not work.request.caches.get("write"):
        built = _build(work, None)
        _end(work, started, free, built)
        return
    from stages.remote_cache.exporter import Packer

    with work.store.workplace() as workplace:
        packer = Packer(work.store, workplace)
        try:
            built = _build(work, packer)
        finally:
            packer.close()
        emit(events.Shared())
        work.control.line()
    _end(work, started, free, built)


def _build(work: Work, packer: Packer | None) -> Built:
    """Build; again where a layer turns out not to be what was kept: it, and what lies on it, is let go of first."""
    for _ in range(REBUILDS):
        try:
            return _build_once(work, packer)
        except DamagedError as error:
            from stages.outputs.verify_store import let_go_of_damaged

            for sentence in let_go_of_damaged(work.store, error.damages):
                emit(events.Note(text=f"{sentence}; it is made again, the disk may be failing"))
    raise BuildError(
        "layers of the store change again and again, though nobody writes to them",
        where=str(work.store.root),
        hint="the disk, or the memory, is failing: put the store elsewhere (--store, DIB_CTR_STORE)",
    )


def _build_once(work: Work, packer: Packer | None) -> Built:
    built = build_tree(work, packer)
    plan, builder, chain = built.plan, built.builder, built.chain
    redaction = builder.digests.redaction
    if built.only_looked:
        exporter = Exporter(work.request, work.store, FinishedTree(plan, chain, {}, redaction), work.scratch)
        exporter.tell()
        deliver(work.store, work.control, exporter.sent)
        return built
    for event in locked.settle(work.request, work.store, plan, chain):
        emit(event)
    # The layers go to the disk while the outputs are written; those can be written again after a power loss.
    with ThreadPoolExecutor(1) as pool:
        syncing = pool.submit(work.store.sync, list(builder.kept))
        titles = layer_titles(work.store, builder.kept)
        exporter = Exporter(work.request, work.store, FinishedTree(plan, chain, titles, redaction), work.scratch)
        exporter.write_all()
        if packer and built.elsewhere:
            sharing.share(work.request, work.store, packer, builder.kept, exporter, built.elsewhere)
        side_files(work.store, work.scratch, chain, plan.tree_key)
        deliver(work.store, work.control, exporter.sent)
    syncing.result()
    return built


def _end(work: Work, started: float, free: int, built: Built) -> None:
    """Keep the store within its bounds, where this build made it grow (``free``: what was free before), and report."""
    builder = built.builder
    seconds = round(time.monotonic() - started, 3)
    more = {}
    if builder.ran or builder.fetched:
        from stages.layers import budget

        freed = budget.keep_within(work.store, work.request.arguments.get(budget.SETTING, ""), free)
        more = {"pruned": freed} if freed else {}
    emit(events.End(seconds=seconds, hits=builder.hits, misses=builder.misses, tree=built.plan.tree_key, **more))
