"""Shells in a tree: a session written by the build, entered later by a process that has the user's terminal.

Whatever is changed in a shell is thrown away with it: a layer holds only what its key covers.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from blockdev.core.atomic_file import remove_tree
from stages.element.environment import PATH
from stages.layers.late_environment import LateVariables
from stages.layers.overlay import mounted
from stages.layers.resolver import resolv_conf, resolving
from stages.layers.session import ShellSession, read_session, take_session, write_session
from stages.layers.store import Store
from stages.sandbox import foreign, sandbox
from stages.sandbox.view import View

TAKEN = "taken"  # in a session's folder: what its command left for the user's machine


def finished_session(store: Store, chain: Sequence[str], tree_key: str, arch: str) -> str:
    """A session in the finished tree of an architecture, as its image would run; returns its name."""
    name = f"{os.getpid()}-tree-{tree_key[:8]}"
    folder = store.root / "sessions" / name
    lent = store.lend(f"sessions/{name}", *(f"layers/{layer}" for layer in chain))
    (folder / "hooks").mkdir(parents=True, exist_ok=True)
    session = ShellSession(
        chain=tuple(chain),
        lent=lent,
        arch=arch,
        inside=True,
        network=True,
        environment={"PATH": PATH, "HOME": "/root", **foreign.settings(arch)},
        script="",
        title="the finished tree",
    )
    write_session(folder, session)
    return name


def set_command(store: Store, session: str, command: Sequence[str]) -> None:
    """Have the session run this command instead of an interactive shell."""
    folder = store.root / "sessions" / session
    write_session(folder, read_session(folder).replace(command=tuple(command)))


def _greet(session: ShellSession) -> None:
    print(f"dib-ctr: a shell at {session.title}; what you change here is thrown away.", file=sys.stderr)
    if session.script:
        print(f"dib-ctr: its script is {session.script}", file=sys.stderr, flush=True)


def _late_variables(late: LateVariables | None, view: View, scratch: Path) -> dict[str, str]:
    """The variables that the stage is given just before its script; where that fails the shell is there to see why."""
    if late is None:
        return {}
    _, variables = late.source(view, scratch, lambda output: print(output.decode("utf-8", "replace"), end=""))
    return variables


def _folders(taken: Path, paths: Sequence[str]) -> dict[str, Path]:
    """Empty folders of the session for those of the user's machine that its command may write to."""
    folders = {path: taken / str(number) / "artifact" for number, path in enumerate(paths)}
    for folder in folders.values():
        folder.mkdir(parents=True)
    return folders


def _repositories(folder: Path, texts: Mapping[str, str]) -> Path | None:
    """The folder with what package tools are told of their repositories; None where they are told nothing."""
    if not texts:
        return None
    folder.mkdir()
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@contextlib.contextmanager
def _taken_over(store: Store, name: str, session: ShellSession) -> Iterator[None]:
    store.take_over(session.lent, f"sessions/{name}", *(f"layers/{layer}" for layer in session.chain))
    yield


def enter(name: str, store_path: Path, scratch: Path) -> int:
    """Open the session's shell on this process's terminal, and return the shell's exit status.

    The session is removed then, but for what its command has left for the user's machine.
    """
    store = Store(store_path)
    folder = store.root / "sessions" / name
    session = take_session(folder)
    chain = list(session.chain)
    if (folder / "layer").is_dir():
        chain.append(os.path.relpath(folder / "layer", store.root / "layers"))
    if not session.command:
        _greet(session)
    (scratch / "stage").mkdir(parents=True, exist_ok=True)
    foreign.ensure(session.arch, scratch / "binfmt")
    programs = foreign.programs(session.arch, scratch / "native")
    with (
        store.in_use(),
        _taken_over(store, name, session),
        store.workplace() as workplace,
        mounted(store, chain, scratch / "merged", workplace.upper, workplace.path / "work") as merged,
        resolving(merged / "tree", resolv_conf() if session.network else b"", also_missing=True),
    ):
        view = View(
            inside=session.inside,
            tree=merged / "tree",
            cwd=merged / "cwd",
            hooks=folder / "hooks",
            scratch=scratch / "stage",
            hooks_writable=True,
            network=session.network,
            masked=(store.root,),
            resolv_conf=resolv_conf(),
            short_places=foreign.short_places(session.arch),
            native=programs.ready(merged / "tree") if programs else None,
            outside=merged / "outside",
            repositories=_repositories(scratch / "repositories", session.repositories),
            folders=_folders(folder / TAKEN, session.folders),
        )
        late = _late_variables(session.late, view, scratch / "late")
        environment = {**session.environment, **late, "TERM": os.environ.get("TERM", "dumb"), "PS1": "dib-ctr:\\w# "}
        shell = "/bin/bash" if not session.inside or os.path.lexists(merged / "tree/bin/bash") else "/bin/sh"
        argv = [shell, "-c", 'exec "$@"', shell, *session.command] if session.command else [shell]
        status = sandbox.interact(view, argv, environment)
    for entry in folder.iterdir():
        if entry.name != TAKEN:
            remove_tree(entry) if entry.is_dir() else entry.unlink()
    return status
