"""Files in phase folders that are no script for their phase although they look like one, and scripts that cannot start.

What has no run bit or a dot in its name is left out, as diskimage-builder leaves it out, but not without a word. What
cannot start stops a build before anything has run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from blockdev.core.errors import UsageError
from stages.element.hooks import PHASE_FOLDERS, SCRIPT_NAME, HookFile


@dataclass(frozen=True)
class HookProblem:
    """What is odd about one file of a phase folder; ``stops`` tells whether a build is refused for it."""

    code: str
    path: str
    text: str
    stops: bool


def is_in_phase(path: str) -> bool:
    """Does a path, relative to its element, lie directly in a phase folder?"""
    folder, _, name = path.partition("/")
    return folder in PHASE_FOLDERS and bool(name) and "/" not in name


def _not_run(hook: HookFile, name: str) -> HookProblem | None:
    if not SCRIPT_NAME.match(name):
        if hook.mode & 0o111 == 0:
            return None
        text = "will not run: its name has more than letters, digits, - and _"
        return HookProblem("script-name", hook.path, f"{hook.path} {text}", False)
    if hook.data.startswith(b"#!"):
        return HookProblem("not-executable", hook.path, f"{hook.path} will not run: it is not executable", False)
    if name[0].isdigit():
        text = "never runs: it is not executable, and has no interpreter line"
        return HookProblem("not-a-script", hook.path, f"{hook.path} {text}", False)
    return None


def oddity(hook: HookFile) -> HookProblem | None:
    """What is odd about a file of the hooks tree, if anything; files elsewhere than in a phase folder never are."""
    if not is_in_phase(hook.path):
        return None
    if not hook.is_script:
        return _not_run(hook, hook.path.partition("/")[2])
    line = hook.data.split(b"\n", 1)[0]
    if not line.startswith(b"#!"):
        return None
    if line.endswith(b"\r"):
        text = f"{hook.path} cannot start: its lines end with carriage returns"
        return HookProblem("carriage-return", hook.path, text, True)
    words = line[2:].decode("utf-8", "replace").split()
    if not words or not words[0].startswith("/"):
        text = f"{hook.path} cannot start: its first line names no interpreter by its whole path"
        return HookProblem("interpreter", hook.path, text, True)
    return None


def refuse_odd(hooks: Iterable[HookFile], folders: Mapping[str, Path]) -> None:
    """Refuse the files that stop a build, naming all of them; ``folders`` are those of the elements by name."""
    stopping = [(hook, odd) for hook in hooks if (odd := oddity(hook)) is not None and odd.stops]
    if stopping:
        raise UsageError(
            "\n".join(f"element {hook.element}: {odd.text}" for hook, odd in stopping),
            where=", ".join(str(folders[hook.element] / odd.path) for hook, odd in stopping),
            hint="correct the first line of each; `dib-ctr elements --check` says more",
        )
