"""Running a plan's stages into layers: a hit costs a look-up, a miss runs the script and keeps what it changed."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from blockdev.core.digest import digest
from stages.element import left_files
from stages.element.cache_rules import CacheRule
from stages.layers import variants
from stages.layers.budget import make_room
from stages.layers.given_places import removed_afterwards
from stages.layers.hooks_folder import add_earlier, keep_written, write_hooks
from stages.layers.host_files import bring
from stages.layers.later_scripts import LaterScripts
from stages.layers.overlay import mounted
from stages.layers.resolver import resolv_conf, resolving
from stages.layers.stage_environment import stage_environment
from stages.layers.stage_output import Lines
from stages.layers.store import Record, Store, Workplace
from stages.plan import breakpoints
from stages.plan.key import why_missed
from stages.plan.offline import offline_plan
from stages.plan.plan import Plan, Stage
from stages.protocol import events
from stages.protocol.control import Control, StoppedError
from stages.protocol.emit import emit
from stages.protocol.request import Request
from stages.redaction.keyed import KeyDigests
from stages.sandbox import foreign, sandbox
from stages.sandbox.mounts import prepare_settings, remove_stand_ins
from stages.sandbox.native_tools import Programs
from stages.sandbox.paths import HOOKS_INSIDE, HOOKS_OUTSIDE
from stages.sandbox.seccomp.policy import notes as supervised_notes
from stages.sandbox.view import View

if TYPE_CHECKING:
    from stages.layers.late_environment import LateVariables
    from stages.layers.met_repositories import MetRepositories
    from stages.layers.package_cache import CacheView
    from stages.layers.stage_caches import StageCaches


class StageFailedError(Exception):
    """A stage's script ended with another status than 0; everything about it has been reported."""


@dataclass
class Builder:
    """One run of one plan against a store. ``scratch`` is a folder on a tmpfs that goes away with the build."""

    request: Request
    plan: Plan
    store: Store
    scratch: Path
    control: Control
    caches: tuple[CacheRule, ...] = ()
    given: Path = Path("/nonexistent")  # the folder of the files of the user's machine, by digest
    lists: Mapping[str, Path] = field(default_factory=dict)  # what a lock gives its stages (``stages.lock.replay``)
    locked: frozenset[bytes] = frozenset()  # the packages that its lock names, as lists have them
    kept: list[str] = field(default_factory=list)  # the names of the records that the tree is made of
    ran: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)  # keys of stages that came from a cache elsewhere
    sources: Mapping[str, str] = field(default_factory=dict)  # the names of those caches, by key
    on_kept: Callable[[Record], None] = lambda _: None  # told of every stage that ran
    digests: KeyDigests = field(default_factory=KeyDigests)
    later: LaterScripts | None = None
    present: Callable[[], Mapping[str, str]] = dict  # the repositories' present digests, by address
    on_planned: Callable[[], None] = lambda: None  # told where the plan has changed while it is built
    hits: int = 0
    misses: int = 0
    _run_number: int = 0

    # -- looking ---------------------------------------------------------------------------------------------------

    def place_of(self, stage: Stage) -> str:
        """The name under which the last inputs of a stage's place in this image's plan are kept."""
        return digest(f"{self.request.name}/{self.request.arch}/{stage.title}")[:24]

    def find(self, stage: Stage, chain: tuple[str, ...]) -> Record | None:
        """The stage's record, if it was made on exactly these layers."""
        record = self.record(stage)
        return record if record and record.below == chain else None

    def record(self, stage: Stage) -> Record | None:
        """What the store has of the stage: of several records the one that gets the plan furthest."""
        named_record = self._best_records.get(stage.key)
        return named_record[1] if named_record else self.store.find(stage.key)

    @cached_property
    def _best_records(self) -> Mapping[str, variants.NamedRecord]:
        return variants.longest(self.store, [stage.key for stage in self.plan.stages])

    def look(self) -> Iterator[tuple[Stage, bool, str]]:
        """Each stage with whether it is a hit and, for a miss, why."""
        chain: tuple[str, ...] | None = ()
        for stage in self.plan.stages:
            record = None if chain is None or self.request.no_cache else self.find(stage, chain)
            chain = record.chain() if record else None
            hit = record is not None or stage.key in self.sources
            yield stage, hit, "" if hit else self._why(stage)

    def cut_off(self) -> Plan:
        """The plan that is run: where the build is offline, with keys that say which stages had no network.

        It has the scripts that stages, as far as their layers are here, have left for later phases.
        """
        self.foresee()
        while self.request.offline:
            self.plan = offline_plan(self.plan, [hit for _, hit, _ in self.look()])
            if not self.foresee():
                break
        return self.plan

    def foresee(self) -> bool:
        """Have the plan with all that its stages, whose layers are here, have left; whether that changes it."""
        before = self.plan
        while self.later and not self.request.no_cache:
            if not any("hooks" in record.parts for _, record in self._best_records.values()):
                break
            if not self._take(self.later.foreseen(self.plan, self.find, self.store.root)):
                break
        return self.plan is not before

    def _take(self, changed: tuple[Plan, list[str]] | None) -> list[str]:
        """Go on with a changed plan, if it has changed; the scripts that this is about."""
        if changed is None:
            return []
        for sentence in [each for each in changed[0].remarks if each not in self.plan.remarks]:
            emit(events.Note(text=sentence))
        self.plan, paths = changed
        for name in ("_known", "_stage_caches"):
            self.__dict__.pop(name, None)
        return paths

    def _why(self, stage: Stage) -> str:
        if self.request.no_cache:
            return "--no-cache"
        return why_missed(stage.inputs, self.store.last_inputs(self.place_of(stage)))

    # -- running ---------------------------------------------------------------------------------------------------

    def build(self, stop_before: Stage | None = None) -> tuple[str, ...]:
        """Find or run every stage (up to ``stop_before``) and return the chain of layers, lowest first.

        Raises StageFailedError, StoppedError or BuildError.
        """
        chain: tuple[str, ...] = ()
        number = 0
        while number < len(self.plan.stages):
            stage = self.plan.stages[number]
            if stop_before is not None and stage.title == stop_before.title:
                break
            if self.control.gone():
                raise StoppedError
            self._break("before", stage, chain)
            record = self._layer(stage, chain)
            chain = record.chain()
            if self.later and (paths := self._take(self.later.after(self.plan, stage, record, self.store.root))):
                emit(events.Note(text=f"{stage.title} has left {', '.join(paths)}: the plan goes on with that"))
                self.cut_off()
                self.on_planned()
            self._break("after", stage, chain)
            number += 1
        return chain

    def _layer(self, stage: Stage, chain: tuple[str, ...]) -> Record:
        if not self.request.no_cache:
            record = self.find(stage, chain)
            if record:
                return self._hit(stage, record)
        if self.store.is_locked(stage.key):
            emit(events.Wait(number=stage.number))
        with self.store.lock(stage.key) as waited:
            record = self.store.find(stage.key) if waited or not self.request.no_cache else None
            if record and record.below == chain:
                return self._hit(stage, record)
            return self._run(stage, chain)

    def _hit(self, stage: Stage, record: Record) -> Record:
        named_record = self._best_records.get(stage.key)
        name = named_record[0] if named_record and named_record[1] == record else stage.key
        with suppress(FileNotFoundError):  # it has another name by now
            os.utime(self.store.root / "keys" / f"{name}.json")
        self.kept.append(name)
        self._count_hit(stage)
        return record

    def _count_hit(self, stage: Stage) -> None:
        self.hits += 1
        source = self.sources.get(stage.key, "")
        emit(events.Hit(number=stage.number, **({"source": source} if source else {})))

    def pass_over(self) -> None:
        """Every stage is in a cache elsewhere, and nobody needs its layer here."""
        for stage in self.plan.stages:
            self._count_hit(stage)

    def _run(self, stage: Stage, chain: tuple[str, ...]) -> Record:
        from stages.layers.hard_links import run_and_join  # a build that runs no stage does without

        emit(events.Start(number=stage.number))
        self.store.digests.check(chain)  # what lies below is compared while stages run
        self.misses += 1
        make_room(self.store, self.request.arguments)
        started = time.monotonic()
        self.store.watch.mark()
        with self.store.workplace() as workplace:
            lines = Lines(stage.number)
            status = run_and_join(
                self.store, chain, workplace, lambda: self._execute(stage, chain, workplace, lines), lines.remark
            )
            if self.control.gone():
                raise StoppedError
            if status != 0:
                self.met.look_after_failure(stage)
                self._failed(stage, chain, workplace, status, list(lines.tail))
            lines.refuse_full(stage.title, self.store.watch)
            seconds = time.monotonic() - started
            record = Record(
                stage.key, "", chain, (), dict(stage.inputs), stage.title, time.time(), round(seconds, 3), 0, ""
            )
            try:
                record = self.store.keep(workplace, record, self.place_of(stage))
            except OSError as error:
                raise self.store.watch.full() or error from error
        self.kept.append(stage.key)
        self.ran.append(stage.key)
        self.on_kept(record)
        emit(events.Done(number=stage.number, seconds=round(seconds, 3), bytes=record.bytes))
        return record

    def _environment(self, stage: Stage) -> dict[str, str]:
        return {**stage_environment(stage, self.plan), **foreign.settings(self.request.arch)}

    def _late(self, stage: Stage) -> LateVariables:
        from stages.layers.late_environment import LateVariables  # few stages need it

        return LateVariables.of(self.plan, stage)

    def _execute(self, stage: Stage, chain: tuple[str, ...], workplace: Workplace, lines: Lines) -> int:
        with self._stage_caches.fetching(stage), self._stage_view(stage, chain, workplace) as (view, cached):
            argv = [f"{HOOKS_INSIDE if stage.phase.inside else HOOKS_OUTSIDE}/{stage.script.path}"]
            environment = self._environment(stage)
            if stage.late:
                scratch = self.scratch / str(self._run_number) / "late"
                status, late = self._late(stage).source(view, scratch, lines.add, self.control.gone)
                lines.end()
                if status != 0:
                    return status
                environment |= late
            mountinfo: list[bytes] = []
            answers: dict[str, int] = {}
            status = sandbox.run(
                view,
                argv,
                environment,
                lines.add,
                stopped=self.control.gone,
                on_mounts=None if stage.phase.inside else mountinfo.append,
                on_answers=answers.update,
            )
            lines.end()
            for note in supervised_notes(answers):
                lines.remark(note)
            if not stage.phase.inside:
                remove_stand_ins(view.tree / "dev")
            if status == 0:
                if not stage.phase.inside:
                    keep_written(view.hooks, stage.files, view.tree.parent / "hooks", workplace.upper / "hooks")
                    self._stage_caches.keep_mounts(stage, view, b"".join(mountinfo), workplace.upper, lines)
                self.met.look(stage, view.tree, workplace.upper / "tree", cached)
                self._stage_caches.keep(stage, cached, view.tree)
        return status

    def _failed(self, stage: Stage, chain: tuple[str, ...], workplace: Workplace, status: int, tail: list[str]) -> None:
        from stages.layers.failure import failed

        full = self.store.watch.full()
        event = failed(stage, status, tail, None if full else self.plan.repositories, self.request.base.get("name", ""))
        if no_sandbox := sandbox.engine_fault(status, "\n".join(tail)):
            raise no_sandbox
        emit(event)
        if breakpoints.ERROR in self.request.breaks:
            self._shell("error", stage, chain, workplace)
        if full:
            raise full
        raise StageFailedError

    # -- what a stage sees -----------------------------------------------------------------------------------------

    @contextmanager
    def _stage_view(
        self, stage: Stage, chain: Sequence[str], workplace: Workplace
    ) -> Iterator[tuple[View, tuple[CacheView, ...]]]:
        self._run_number += 1
        scratch = self.scratch / str(self._run_number)
        (scratch / "root-of-stage").mkdir(parents=True)
        try:
            with mounted(self.store, chain, scratch / "merged", workplace.upper, workplace.path / "work") as merged:
                left_files.put(stage.files, merged / "outside")
                hooks = write_hooks(stage.files, scratch / "hooks")
                if (merged / "hooks").is_dir():
                    add_earlier(merged / "hooks", hooks)
                network = stage.network and not self.request.offline
                with (
                    resolving(merged / "tree", resolv_conf() if network else b""),
                    self._stage_caches.views(stage, merged, workplace, scratch) as cached,
                    removed_afterwards(merged / "outside", stage.given if not stage.phase.inside else ()),
                ):
                    view = View(
                        inside=stage.phase.inside,
                        tree=merged / "tree",
                        cwd=merged / "cwd",
                        hooks=hooks,
                        scratch=scratch / "root-of-stage",
                        hooks_writable=not stage.phase.inside,
                        network=network,
                        caches=(*(each.cache for each in cached), *self._stage_caches.kept_mounts(stage, merged)),
                        masked=(self.store.root,),
                        resolv_conf=resolv_conf(),
                        short_places=foreign.short_places(self.request.arch),
                        furnished=stage.phase.name != "root",
                        image_cache=self._stage_caches.image_cache() if stage.image_cache else None,
                        given={path: self._host_file(self.request.given[path]) for path in stage.given},
                        native=self._programs.ready(merged / "tree") if self._programs else None,
                        settings=prepare_settings(self.scratch) if not stage.phase.inside else None,
                        outside=merged / "outside",
                        repositories=self.met.folder(stage),
                    )
                    yield view, cached
        finally:
            if not (scratch / "merged").exists():  # never walk into a tree that could not be unmounted
                shutil.rmtree(scratch, ignore_errors=True)

    @cached_property
    def _programs(self) -> Programs | None:
        return foreign.programs(self.request.arch, self.scratch / "native")

    def _host_file(self, digest: str) -> Path:
        """A given file: it came with the request, or the host sends it now."""
        file = self.given / digest
        return file if file.is_file() else bring(digest, self.store, self.control)

    @cached_property
    def met(self) -> MetRepositories:
        """The repositories as this build's stages meet them."""
        from stages.layers.met_repositories import MetRepositories  # a build that runs no stage does without

        return MetRepositories.of(self.plan, self.scratch / "repositories", self.request, self.present)

    @cached_property
    def _stage_caches(self) -> StageCaches:
        from stages.layers.stage_caches import StageCaches  # a build that runs no stage does without

        return StageCaches(self.request, self.plan, self.store, self.caches, self.lists, self.locked, self.digests)

    # -- shells ----------------------------------------------------------------------------------------------------

    def _break(self, point: str, stage: Stage, chain: tuple[str, ...]) -> None:
        if breakpoints.stops(self.plan, self.request.breaks, point, stage):
            self._shell(point, stage, chain, None)

    def _shell(self, point: str, stage: Stage, chain: tuple[str, ...], workplace: Workplace | None) -> None:
        if workplace is not None and self.request.break_outside:
            stage = dataclasses.replace(stage, phase=dataclasses.replace(stage.phase, inside=False))
        session = self.open_session(stage, chain, workplace, self.request.break_command)
        emit(events.Break(session=session, number=stage.number, point=point))
        self.control.wait_for_continue()

    def open_session(
        self, stage: Stage, chain: Sequence[str], workplace: Workplace | None = None, command: str = ""
    ) -> str:
        """Write down what a shell at this stage needs (``stages.agent.shell_session``); return the session's name.

        ``workplace`` is where the stage failed: what it left there is shown too. ``command`` runs in place of a shell.
        """
        from stages.layers.session import StageNeeds, open_at_stage

        late = self._late(stage) if stage.late else None
        repositories = self.met.texts(stage)
        needs = StageNeeds(self._environment(stage), late, repositories)
        return open_at_stage(self.store, self.request, stage, chain, workplace, needs, command)
