"""What runs in the build container: reads a request, plans, builds, reports (``stages.protocol.emit``)."""

from __future__ import annotations

import json
import time
import traceback
from pathlib import Path

from blockdev.core.disk_space import DiskWatch, explained
from blockdev.core.errors import BuildError, UsageError
from blockdev.core.typed_json import read
from stages.agent.build import build, build_tree, builder_of, rows
from stages.agent.cache_command import cache
from stages.agent.plan_request import plan_request
from stages.agent.work import Work
from stages.layers.budget import make_room
from stages.layers.builder import StageFailedError
from stages.layers.store import Store
from stages.layers.sweep import drop_old_layout, sweep
from stages.outputs.delivery import deliver
from stages.protocol import events
from stages.protocol.control import Control, StoppedError
from stages.protocol.emit import emit, redact_with
from stages.protocol.request import Request
from stages.remote_cache import steps as sharing


def plan(work: Work) -> None:
    """The command ``plan``: the stages with hits, misses and reasons."""
    builder = builder_of(work, *plan_request(work))
    builder.foresee()
    sharing.look(work.request, work.store, work.control, builder, builder.plan.stages)
    builder.cut_off()
    emit(events.Result(data=events.PlanResult(stages=rows(builder))))


def shell(work: Work) -> None:
    """The command ``shell``: build up to the stage asked for and leave a session to enter."""
    from stages.agent.shell_session import finished_session, set_command

    built = build_tree(work)
    plan, builder, chain = built.plan, built.builder, built.chain
    if work.request.stop_at:
        session = builder.open_session(plan.find(work.request.stop_at), chain)
    else:
        session = finished_session(work.store, chain, plan.tree_key, work.request.arch)
    command = read(tuple[str, ...], json.loads(work.request.arguments.get("command", "[]")))
    if command:
        set_command(work.store, session, command)
    emit(events.Result(data=events.ShellResult(session=session)))


def assemble(work: Work) -> None:
    """The command ``assemble``: the disk images that a build asked for (see ``stages.outputs.disk.job``)."""
    from stages.outputs.disk.job import Disks

    started = time.monotonic()
    arguments = work.request.arguments
    disks = Disks(work.request, work.store, work.scratch, work.elements if work.request.disk.get("privileged") else ())
    passphrases = read(dict[str, str], json.loads(arguments.get("passphrases", "{}")))
    disks.make(read(events.DiskJob, json.loads(arguments["job"])), passphrases)
    deliver(work.store, work.control, disks.sent)
    emit(events.Result(data={"seconds": round(time.monotonic() - started, 3)}))


COMMANDS = {"build": build, "plan": plan, "shell": shell, "assemble": assemble}


def _report(error: BuildError) -> int:
    trace = traceback.format_exc()
    emit(events.Error(what=error.what, where=error.where, hint=error.hint, status=error.exit_status, trace=trace))
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
        explained_error = explained(store_path, error) or _full(watch, str(error))
        return _report(
            explained_error
            or BuildError(f"the build container could not go on: {error}", hint="run again with --debug")
        )
    except Exception as error:  # noqa: BLE001 - the host prints one sentence; the trace is for --debug
        full = _full(watch, f"{type(error).__name__}: {error}")
        if full:
            return _report(full)
        what = f"the build container stumbled over {type(error).__name__}: {error}"
        emit(events.Error(what=what, where="", hint="run again with --debug", status=1, trace=traceback.format_exc()))
        return 1
    return 0


def enter(session: str, store_path: Path, scratch: Path) -> int:
    """Enter a session on this process's terminal (see ``stages.agent.shell_session``)."""
    from stages.agent.shell_session import enter as enter_session

    return enter_session(session, store_path, scratch)
