"""Shells in a tree: a session written by the build, entered later by a process that has the user's terminal.

Whatever is changed in a shell is thrown away with it: a layer holds only what its key covers.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from blockdev.core import typed_json
from blockdev.core.atomic_file import remove_tree
from stages.element.environment import PATH
from stages.layers.overlay import mounted
from stages.layers.resolver import resolv_conf, resolving
from stages.layers.store import Store
from stages.redaction.private import write_private
from stages.sandbox import foreign, sandbox
from stages.sandbox.view import View

TAKEN = "taken"  # in a session's folder: what its command left for the user's machine


def finished_session(store: Store, chain: Sequence[str], tree_key: str, arch: str) -> str:
    """A session in the finished tree of an architecture, as its image would run; returns its name."""
    session = f"{os.getpid()}-tree-{tree_key[:8]}"
    folder = store.root / "sessions" / session
    lent = store.lend(f"sessions/{session}", *(f"layers/{layer}" for layer in chain))
    (folder / "hooks").mkdir(parents=True, exist_ok=True)
    content = {
        "chain": list(chain),
        "lent": lent,
        "arch": arch,
        "inside": True,
        "network": True,
        "environment": {"PATH": PATH, "HOME": "/root", **foreign.settings(arch)},
        "script": "",
        "title": "the finished tree",
    }
    write_private(folder / "session.json", json.dumps(content))
    return session


def set_command(store: Store, session: str, command: Sequence[str]) -> None:
    """Have the session run this command instead of an interactive shell."""
    file = store.root / "sessions" / session / "session.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    write_private(file, json.dumps({**content, "command": list(command)}))


def _greet(content: Mapping[str, object]) -> None:
    print(f"dib-ctr: a shell at {content['title']}; what you change here is thrown away.", file=sys.stderr)
    if content["script"]:
        print(f"dib-ctr: its script is {content['script']}", file=sys.stderr, flush=True)


def _late_variables(late: Mapping[str, Any] | None, view: View, scratch: Path) -> dict[str, str]:
    """The variables that the stage is given just before its script; where that fails the shell is there to see why."""
    if not late:
        return {}
    from stages.layers.late_environment import LateVariables

    _, variables = typed_json.read(LateVariables, late).source(
        view, scratch, lambda said: print(said.decode("utf-8", "replace"), end="")
    )
    return variables


def _folders(taken: Path, paths: Sequence[str]) -> dict[str, Path]:
    """Empty folders of the session for those of the user's machine that its command may write to."""
    found = {path: taken / str(number) / "artifact" for number, path in enumerate(paths)}
    for folder in found.values():
        folder.mkdir(parents=True)
    return found


@contextlib.contextmanager
def _taken_over(store: Store, session: str, content: Mapping[str, Any]) -> Iterator[None]:
    store.take_over(
        str(content.get("lent", "")), f"sessions/{session}", *(f"layers/{each}" for each in content["chain"])
    )
    yield


def enter(session: str, store_path: Path, scratch: Path) -> int:
    """Open the session's shell on this process's terminal, and return the shell's exit status.

    The session is removed then, but for what its command has left for the user's machine.
    """
    store = Store(store_path)
    folder = store.root / "sessions" / session
    content = json.loads((folder / "session.json").read_text(encoding="utf-8"))
    (folder / "session.json").unlink()  # it has the stage's variables, secrets among them
    chain = list(content["chain"])
    if (folder / "layer").is_dir():
        chain.append(os.path.relpath(folder / "layer", store.root / "layers"))
    command = content.get("command") or []
    if not command:
        _greet(content)
    (scratch / "stage").mkdir(parents=True, exist_ok=True)
    foreign.ensure(content["arch"], scratch / "binfmt")
    programs = foreign.programs(content["arch"], scratch / "native")
    with (
        store.in_use(),
        _taken_over(store, session, content),
        store.workplace() as place,
        mounted(store, chain, scratch / "merged", place.upper, place.path / "work") as merged,
        resolving(merged / "tree", resolv_conf() if content["network"] else b"", also_missing=True),
    ):
        view = View(
            inside=content["inside"],
            tree=merged / "tree",
            cwd=merged / "cwd",
            hooks=folder / "hooks",
            scratch=scratch / "stage",
            hooks_writable=True,
            network=content["network"],
            masked=(store.root,),
            resolv_conf=resolv_conf(),
            short_places=foreign.short_places(content["arch"]),
            native=programs.ready(merged / "tree") if programs else None,
            outside=merged / "outside",
            folders=_folders(folder / TAKEN, content.get("folders", [])),
        )
        late = _late_variables(content.get("late"), view, scratch / "late")
        environment = {**content["environment"], **late, "TERM": os.environ.get("TERM", "dumb"), "PS1": "dib-ctr:\\w# "}
        shell = "/bin/bash" if not content["inside"] or os.path.lexists(merged / "tree/bin/bash") else "/bin/sh"
        argv = [shell, "-c", 'exec "$@"', shell, *command] if command else [shell]
        status = sandbox.interact(view, argv, environment)
    for entry in folder.iterdir():
        if entry.name != TAKEN:
            remove_tree(entry) if entry.is_dir() else entry.unlink()
    return status
