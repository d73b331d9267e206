"""Sessions: what a shell in a tree needs, written down for the process that has the user's terminal."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from blockdev.core.digest import digest
from blockdev.core.typed_json import Struct, read
from stages.layers.hooks_folder import write_hooks
from stages.layers.late_environment import LateVariables
from stages.layers.store import Store, Workplace
from stages.plan.plan import Stage
from stages.protocol.request import Request
from stages.redaction.private import write_private
from stages.sandbox.paths import HOOKS_INSIDE, HOOKS_OUTSIDE

_FILE = "session.json"


class ShellSession(Struct):
    """What a shell needs of a stage, or of the finished tree.

    ``chain`` are its layers, kept under the name ``lent`` until it is entered. ``inside``: its processes see the tree
    as their root. ``script`` and ``title`` are for a person. ``late`` are the variables that the stage is given just
    before it runs. ``command`` runs in place of a shell, and may write to ``folders`` of the user's machine.
    ``repositories`` are the texts of what package tools are told of their repositories, by the names of their files.
    """

    chain: tuple[str, ...]
    lent: str
    arch: str
    inside: bool
    network: bool
    environment: Mapping[str, str]
    script: str
    title: str
    command: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    late: LateVariables | None = None
    repositories: Mapping[str, str] = {}


@dataclasses.dataclass(frozen=True)
class StageNeeds:
    """What a stage's processes are given: see ShellSession."""

    environment: Mapping[str, str]
    late: LateVariables | None
    repositories: Mapping[str, str]


def write_session(folder: Path, session: ShellSession) -> None:
    """Write a session into its folder: it has a stage's variables, secrets among them. Raises OSError."""
    write_private(folder / _FILE, json.dumps(vars(session), default=dataclasses.asdict))


def read_session(folder: Path) -> ShellSession:
    """The session of a folder. Raises OSError, and ValueError for what is none."""
    return read(ShellSession, json.loads((folder / _FILE).read_text(encoding="utf-8")))


def take_session(folder: Path) -> ShellSession:
    """The same, and its file is gone: with it the variables."""
    session = read_session(folder)
    (folder / _FILE).unlink()
    return session


def open_at_stage(
    store: Store,
    request: Request,
    stage: Stage,
    chain: Sequence[str],
    workplace: Workplace | None,
    needs: StageNeeds,
    command: str,
) -> str:
    """Write down a session at a stage on a chain of layers (``stages.agent.shell_session``); return its name.

    ``workplace`` is where the stage failed: what it left there is shown too. ``command`` runs in place of a shell.
    """
    name = f"{os.getpid()}-{stage.number}-{digest(stage.key + str(time.time()))[:8]}"
    folder = store.root / "sessions" / name
    lent = store.lend(f"sessions/{name}", *(f"layers/{layer}" for layer in chain))
    folder.mkdir()
    write_hooks(stage.files, folder / "hooks")
    if workplace is not None:
        workplace.upper.rename(folder / "layer")
        workplace.upper.mkdir()
    session = ShellSession(
        chain=tuple(chain),
        lent=lent,
        arch=request.arch,
        inside=stage.phase.inside,
        network=stage.network and not request.offline,
        environment=needs.environment,
        script=f"{HOOKS_INSIDE if stage.phase.inside else HOOKS_OUTSIDE}/{stage.script.path}",
        title=stage.title,
        command=("/bin/bash", "-c", command) if command else (),
        folders=tuple(request.break_folders) if command else (),
        late=needs.late,
        repositories=needs.repositories,
    )
    write_session(folder, session)
    return name
