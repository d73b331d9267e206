"""What runs in the build container: reads a request, plans, builds, reports (``stages.protocol.emit``)."""

from __future__ import annotations

import json
import shutil
import time
import traceback
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blockdev.core.disk_space import DiskWatch, explained
from blockdev.core.errors import BuildError, UsageError
from stages.agent.shell_session import enter as enter_session
from stages.agent.shell_session import finished_session, set_command
from stages.element import dib_runtime, source_repositories
from stages.element.cache_rules import read_cache_rules
from stages.element.environment import PATH, capture_argv, initial, parse_capture, snippets
from stages.element.hook_checks import refuse_odd
from stages.element.hooks import HooksTree, merge
from stages.layers.budget import make_room
from stages.layers.builder import Builder, StageFailedError
from stages.layers.hooks_folder import write_hooks
from stages.layers.layer_digests import DamagedError
from stages.layers.store import Store
from stages.layers.sweep import drop_old_layout, sweep
from stages.lock import pins
from stages.lock import steps as locked
from stages.outputs.delivery import deliver
from stages.outputs.exporter import Exporter
from stages.outputs.finished_tree import FinishedTree, layer_titles
from stages.outputs.side_files import side_files
from stages.plan import breakpoints
from stages.plan.plan import Plan, make_plan
from stages.protocol.control import Control, StoppedError
from stages.protocol.emit import emit, redact_with
from stages.protocol.request import Request
from stages.redaction.keyed import KeyDigests
from stages.redaction.redaction import Redaction
from stages.remote_cache import steps as sharing
from stages.repositories import apt_sources, default_mirrors
from stages.repositories import state as repositories
from stages.repositories.source_state import Question
from stages.sandbox import foreign, sandbox, system
from stages.sandbox.paths import BUILD_DIR, HOOKS_OUTSIDE
from stages.sandbox.view import View

if TYPE_CHECKING:
    from stages.remote_cache.exporter import Packer
    from stages.remote_cache.importer import Elsewhere

REPLANS = 3  # how often a mirror may move while a build installs from it
REBUILDS = 3  # how often layers may turn out to be damaged
SCRATCH = "scratch"


class MirrorMovedError(Exception):
    """A repository changed between the plan and the end of a stage that installed or fetched from it."""


@dataclass(frozen=True)
class Work:
    """Everything that one request needs: where it lies, the store, and the line to the host."""

    request: Request
    folder: Path
    store: Store
    control: Control

    def redaction(self, variables: Mapping[str, str]) -> Redaction:
        """What is secret, these being the build's variables."""
        said = self.request.secrets
        files = {path: self._content(path) for path in said.get("files", ()) if path in self.request.given}
        return Redaction.of(variables, said.get("names", ()), self.request.given, files)

    def _content(self, path: str) -> bytes:
        file = self.given / self.request.given[path]
        return file.read_bytes() if file.is_file() else b""

    def digests_with(self, redaction: Redaction) -> KeyDigests:
        """What makes the digests in keys."""
        return KeyDigests(redaction, self.store.root, str(self.request.secrets.get("key", "")))

    @cached_property
    def digests(self) -> KeyDigests:
        """The same before any variable is known but the request's own."""
        return self.digests_with(self.redaction(self.request.variables))

    @property
    def scratch(self) -> Path:
        """A folder on a tmpfs, gone with the container."""
        return self.folder / SCRATCH

    @property
    def given(self) -> Path:
        """The files of the user's machine, by digest."""
        return self.folder / "given"

    @property
    def elements(self) -> list[tuple[str, Path]]:
        """The elements of the request with their folders, sorted by name."""
        return [(name, self.folder / "elements" / name) for name in self.request.elements]


def own_mirror() -> dict[str, str]:
    """The build image's own Debian mirror: what elements fall back on where the machine that asks has none."""
    try:
        mirror = apt_sources.debian_mirror()
    except BuildError:
        return {}
    found = {"DIB_CTR_DEBIAN_MIRROR": mirror.archive, "DIB_CTR_DEBIAN_SECURITY_MIRROR": mirror.security}
    return {name: address for name, address in found.items() if address}


def capture_environment(work: Work, merged: HooksTree) -> dict[str, str]:
    """Source the elements' environment.d snippets in a sandbox without network and return what they export."""
    variables = {
        **own_mirror(),
        **default_mirrors.fallbacks((folder for _, folder in work.elements), work.request.arch),
        **initial(work.request, 0),
        "PATH": PATH,
        "HOME": "/root",
        "TMP_HOOKS_PATH": HOOKS_OUTSIDE,
    }
    if "SOURCE_DATE_EPOCH" not in work.request.variables:
        del variables["SOURCE_DATE_EPOCH"]
    variables["DIB_CTR_CAPTURE"] = f"{BUILD_DIR}/cwd/capture"
    scratch = work.scratch / "environment"
    for name in ("tree", "cwd", "stage"):
        (scratch / name).mkdir(parents=True)
    hooks = write_hooks(merged, scratch / "hooks")
    given = {path: work.given / digest for path, digest in work.request.given.items()}
    given = {path: file for path, file in given.items() if file.is_file()}  # the others come when a stage needs them
    tree, cwd, stage = (scratch / name for name in ("tree", "cwd", "stage"))
    view = View(False, tree, cwd, hooks, stage, masked=(work.store.root,), given=given)
    output = bytearray()
    argv = capture_argv([f"{HOOKS_OUTSIDE}/{hook.path}" for hook in snippets(merged)])
    status = sandbox.run(view, argv, variables, output.extend, stopped=work.control.gone)
    if fault := sandbox.engine_fault(status, output.decode("utf-8", "replace")):
        raise fault
    if status != 0:
        last = output.decode("utf-8", "replace").strip().splitlines()[-5:]
        raise BuildError(
            "the elements' environment.d could not be read:\n  " + "\n  ".join(last),
            where="environment.d",
            hint="correct the snippet, or set the variable it asks for with --set",
        )
    captured = parse_capture((scratch / "cwd" / "capture").read_bytes())
    shutil.rmtree(scratch)
    return captured


def plan_request(work: Work) -> Plan:
    """The plan of the work's request at the present state of its repositories."""
    merged = merge(work.elements)
    for sentence in refuse_odd(merged.values(), dict(work.elements)):
        emit("note", text=sentence)
    environment = capture_environment(work, merged)
    redaction = work.redaction(environment)
    redact_with(redaction.event)
    files = dib_runtime.repository_files(work.elements) if source_repositories.are_fetched(merged) else {}
    with ThreadPoolExecutor(1) as pool:
        question = _question(work, environment)
        asked = pool.submit(pins.sources, work.request, source_repositories.read(files, environment), question)
        found = pins.states(work.request, environment, work.store.root / "repositories")
        digests = work.digests_with(redaction)
        return make_plan(work.request, work.elements, merged, environment, found, asked.result(), digests)


def _question(work: Work, environment: Mapping[str, str]) -> Question:
    folder = work.store.root / "repositories"
    given = work.digests.of_all_given(work.request.given)
    return Question(dict(environment), folder, given, work.request.offline, system.hidden())


def rows(builder: Builder) -> list[dict[str, Any]]:
    """The plan's stages as the ``plan`` event lists them."""
    return [
        {
            "number": stage.number,
            "phase": stage.phase.name,
            "element": stage.script.element,
            "script": stage.name,
            "where": "inside" if stage.phase.inside else "outside",
            "key": stage.key,
            "hit": hit,
            "why": why,
        }
        for stage, hit, why in builder.look()
    ]


def _builder(work: Work, plan: Plan) -> Builder:
    builder = Builder(
        work.request, plan, work.store, work.scratch, work.control, read_cache_rules(work.elements), work.given
    )
    builder.digests = work.digests_with(work.redaction(plan.environment))
    return builder


def _check_sources(work: Work, plan: Plan, builder: Builder) -> None:
    """After stages that fetched source repositories have run: these must be what the plan saw."""
    fetched = {state for stage in plan.stages if stage.key in builder.ran for state in stage.sources}
    if work.request.offline or not pins.moved(work.request, fetched, _question(work, plan.environment)):
        return
    for key in builder.ran:
        work.store.forget(key)
    raise MirrorMovedError


def _check_mirrors(work: Work, plan: Plan, builder: Builder) -> None:
    """After stages that installed packages have run: the mirrors must still be where the plan saw them."""
    if not any(stage.packages for stage in plan.stages if stage.key in builder.ran):
        return
    now = {}
    if not work.request.offline:  # (a lock's states are where they are)
        present = pins.states(work.request, dict(plan.environment), work.store.root / "repositories")
        now = {state.shown: state.digest for state in present}
    for stage in plan.stages:
        if any(stage.inputs.get(f"repository {index}", value) != value for index, value in now.items()):
            for key in builder.ran:
                work.store.forget(key)
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
        if (finished or installed) and not work.request.offline and work.request.locking.used is None:
            repositories.remember(plan.repositories, work.store.root / "repositories")


def _build_tree(work: Work, packer: Packer | None = None) -> Built:
    """Plan and build up to the request's stop; again from the start where a mirror moves meanwhile."""
    foreign.ensure(work.request.arch, work.scratch / "binfmt")
    for attempt in range(1, REPLANS + 1):
        plan = plan_request(work)
        builder = _builder(work, plan)
        if packer:
            builder.on_kept = partial(sharing.pack, packer, builder.digests)
        for sentence in breakpoints.check(plan, work.request.breaks):
            emit("note", text=sentence)
        stop = plan.find(work.request.stop_at) if work.request.stop_at else None
        last = stop.number - 1 if stop else len(plan.stages)
        elsewhere = sharing.look(work.request, work.store, work.control, builder, plan.stages[:last])
        plan = builder.cut_off()
        stages = plan.stages[:last]
        emit("plan", stages=rows(builder))
        if elsewhere and sharing.needs_no_tree(work.request, work.store, work.scratch, plan, elsewhere):
            builder.pass_over()
            with _remembering(work, plan, builder):
                return Built(plan, builder, elsewhere.chain, elsewhere, only_looked=True)
        if elsewhere:
            elsewhere.fetch(stages)
        locked.prepare(work.request, work.store, work.control, builder)
        try:
            with _remembering(work, plan, builder):
                chain = builder.build(stop)
            _check_mirrors(work, plan, builder)
            _check_sources(work, plan, builder)
            locked.save_lists(work.request, work.store, plan, builder, chain)
        except MirrorMovedError:
            if attempt < REPLANS:
                emit("note", text="a repository moved during the build: planning again from its new state")
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
    elsewhere: Elsewhere | None = None
    only_looked: bool = False


def build(work: Work) -> None:
    """The command ``build``: tree and outputs."""
    started, free = time.monotonic(), work.store.free()[0]
    if not work.request.caches.get("write"):
        built = _build(work, None)
        _end(work, started, free, built)
        return
    from stages.remote_cache.exporter import Packer

    with work.store.workplace() as place:
        packer = Packer(work.store, place)
        try:
            built = _build(work, packer)
        finally:
            packer.close()
        emit("shared")
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
                emit("note", text=f"{sentence}; it is made again, the disk may be failing")
    raise BuildError(
        "layers of the store change again and again, though nobody writes to them",
        where=str(work.store.root),
        hint="the disk, or the memory, is failing: put the store elsewhere (--store, DIB_CTR_STORE)",
    )


def _build_once(work: Work, packer: Packer | None) -> Built:
    built = _build_tree(work, packer)
    plan, builder, chain = built.plan, built.builder, built.chain
    redaction = builder.digests.redaction
    if built.only_looked:
        exporter = Exporter(work.request, work.store, FinishedTree(plan, chain, {}, redaction), work.scratch)
        exporter.tell()
        deliver(work.store, work.control, exporter.sent)
        return built
    for kind, fields in locked.settle(work.request, work.store, plan, chain):
        emit(kind, **fields)
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
    emit("end", seconds=seconds, hits=builder.hits, misses=builder.misses, tree=built.plan.tree_key, **more)


def plan(work: Work) -> None:
    """The command ``plan``: the stages with hits, misses and reasons."""
    made = plan_request(work)
    builder = _builder(work, made)
    sharing.look(work.request, work.store, work.control, builder, made.stages)
    builder.cut_off()
    emit("result", data={"stages": rows(builder)})


def shell(work: Work) -> None:
    """The command ``shell``: build up to the stage asked for and leave a session to enter."""
    built = _build_tree(work)
    made, builder, chain = built.plan, built.builder, built.chain
    if work.request.stop_at:
        session = builder.open_session(made.find(work.request.stop_at), chain)
    else:
        session = finished_session(work.store, chain, made.tree_key, work.request.arch)
    command = json.loads(work.request.arguments.get("command", "[]"))
    if command:
        set_command(work.store, session, command)
    emit("result", data={"session": session})


def cache(work: Work) -> None:
    """The command ``cache``: ``action`` du, ls, prune or verify."""
    arguments = work.request.arguments
    action = arguments.get("action", "du")
    store = work.store
    if action == "ls":
        data: Any = [
            {
                "key": record.key,
                "title": record.title,
                "bytes": record.bytes,
                "created": record.created,
                "seconds": record.seconds,
            }
            for record in store.records()
        ]
    elif action == "prune":
        from stages.layers.prune import prune

        age, size = arguments.get("older_than"), arguments.get("max_bytes")
        data = prune(
            store,
            older_than=float(age) if age else None,
            max_bytes=int(size) if size else None,
            everything=arguments.get("all") == "1",
        )
    elif action == "verify":
        from stages.outputs.verify_store import verify

        wrong, left = verify(store)
        data = {"wrong": wrong, "left over": left}
    else:
        free, total = store.free()
        data = {"usage": store.usage(), "stages": len(store.records()), "free": free, "total": total}
    emit("result", data=data)


def assemble(work: Work) -> None:
    """The command ``assemble``: the disk images that a build asked for (see ``stages.outputs.disk.job``)."""
    from stages.outputs.disk.job import Disks

    started = time.monotonic()
    arguments = work.request.arguments
    disks = Disks(work.request, work.store, work.scratch, work.elements if work.request.disk.get("privileged") else ())
    disks.make(json.loads(arguments["job"]), json.loads(arguments.get("passphrases", "{}")))
    deliver(work.store, work.control, disks.sent)
    emit("result", data={"seconds": round(time.monotonic() - started, 3)})


COMMANDS = {"build": build, "plan": plan, "shell": shell, "assemble": assemble}


def _report(error: BuildError) -> int:
    trace = traceback.format_exc()
    emit("error", what=error.what, where=error.where, hint=error.hint, status=error.exit_status, trace=trace)
    return error.exit_status


def _full(watch: DiskWatch | None, what: str) -> BuildError | None:
    """The error, where the disk was full meanwhile: what failed then failed because of that, whatever it says."""
    if "is full (" in what:
        return None
    return watch.full(ever=True, during=f": {what}") if watch else None


def main(folder: Path, store_path: Path, control: int | None) -> int:
    """Answer the request unpacked in ``folder``; ``control`` is the line from the host. Returns the exit status."""
    watch: DiskWatch | None = None
    try:
        request = Request.from_json((folder / "request.json").read_text(encoding="utf-8"))
        work = Work(request, folder, Store(store_path), Control(control))
        watch = work.store.watch
        watch.start()
        redact_with(work.redaction(request.variables).event)
        if request.command == "cache":
            cache(work)
        else:
            make_room(work.store, request.arguments)  # on a full disk nothing could even be pinned
            with work.store.in_use():
                sweep(work.store)
                drop_old_layout(work.store)
                COMMANDS[request.command](work)
    except StageFailedError:
        return 1
    except StoppedError:
        return 130
    except UsageError as error:
        return _report(error)
    except BuildError as error:
        return _report(_full(watch, error.what) or error)
    except OSError as error:
        told = explained(store_path, error) or _full(watch, str(error))
        return _report(
            told or BuildError(f"the build container could not go on: {error}", hint="run again with --debug")
        )
    except Exception as error:  # noqa: BLE001 - the host prints one sentence; the trace is for --debug
        full = _full(watch, f"{type(error).__name__}: {error}")
        if full:
            return _report(full)
        what = f"the build container stumbled over {type(error).__name__}: {error}"
        emit("error", what=what, where="", hint="run again with --debug", status=1, trace=traceback.format_exc())
        return 1
    return 0


def enter(session: str, store_path: Path, scratch: Path) -> int:
    """Enter a session on this process's terminal (see ``stages.agent.shell_session``)."""
    return enter_session(session, store_path, scratch)
