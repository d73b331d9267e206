"""Scripts that stages put into the folders of later phases, change there or take away: the plan is remade with them.

diskimage-builder lists a phase's folder when the phase begins, so what an earlier phase has left there counts. Here it
is in the layer of the stage that left it; the plan that follows from it has the same stages up to that one, with the
same keys, and from there on the scripts as they are, each under a key over its content.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from blockdev.core import rooted_path
from blockdev.core.errors import BuildError
from stages.element.hooks import PHASE_FOLDERS, PHASES, HookFile, HooksTree, script_order
from stages.layers.store import Record
from stages.plan.plan import Plan, Stage
from stages.protocol import events
from stages.protocol.emit import emit
from stages.sandbox.paths import HOOKS_OUTSIDE

_ORDER = {phase.folder: number for number, phase in enumerate(PHASES)}


@dataclass
class LaterScripts:
    """What the stages of one build have left so far; ``remake`` makes its plan with that."""

    remake: Callable[[Mapping[str, HooksTree]], Plan]
    left: dict[str, dict[str, HookFile]] = field(default_factory=dict)  # by the title of the stage
    _remarked: set[str] = field(default_factory=set)

    def foreseen(
        self, plan: Plan, find: Callable[[Stage, tuple[str, ...]], Record | None], root: Path
    ) -> tuple[Plan, list[str]] | None:
        """The same for the first stage that changes the plan, of those from the beginning on that ``find`` knows."""
        chain: tuple[str, ...] = ()
        for stage in plan.stages:
            record = find(stage, chain)
            if record is None:
                return None
            if changed := self.after(plan, stage, record, root):
                return changed
            chain = record.chain()
        return None

    def after(self, plan: Plan, stage: Stage, record: Record, root: Path) -> tuple[Plan, list[str]] | None:
        """The plan with what ``stage`` has left, and the paths of these scripts; None where the plan has that already.

        ``record`` is the stage's, in the store at ``root``. Raises BuildError.
        """
        if "hooks" not in record.parts:
            return None
        hooks = root / "layers" / record.layer / "hooks"
        self._remark_on_snippets(stage, hooks)
        present = {stage.script.path: stage.script for stage in plan.stages}
        for files in self.left.values():
            present.update({path: hook for path, hook in files.items() if path not in present})
        left_behind = _left(hooks, stage, present)
        new = {path: hook for path, hook in left_behind.items() if not _same(present.get(path), hook)}
        if not new:
            return None
        left = {**self.left, stage.title: {**self.left.get(stage.title, {}), **new}}
        after = self.remake(left)
        count = stage.number
        if [each.title for each in after.stages[:count]] != [each.title for each in plan.stages[:count]]:
            raise BuildError(
                f"what {stage.title} left in {' and '.join(sorted(new))} changes what has run before it",
                hint="write to the folders of later phases alone",
            )
        self.left = left
        ran = {each.script.path for each in after.stages}
        if lost := sorted(path for path, hook in new.items() if hook.is_script and path not in ran):
            why = "the last phases run on the disk, with what the elements have"
            emit(events.Note(text=f"{stage.title} has left {', '.join(lost)}, which does not run: {why}"))
        return after, sorted(new)

    def _remark_on_snippets(self, stage: Stage, hooks: Path) -> None:
        snippets = sorted(path.name for path in (hooks / "environment.d").glob("*"))
        if snippets and stage.title not in self._remarked:
            self._remarked.add(stage.title)
            shown = ", ".join(f"environment.d/{name}" for name in snippets)
            own = "what it sets belongs in the element's own environment.d"
            emit(events.Note(text=f"{stage.title} has left {shown}, which is not read: {own}"))


def _same(before: HookFile | None, hook: HookFile) -> bool:
    if before is None or not before.is_script:
        return not hook.is_script
    return hook.is_script and before.data == hook.data


def _left(hooks: Path, stage: Stage, present: Mapping[str, HookFile]) -> dict[str, HookFile]:
    left = {}
    for folder in PHASE_FOLDERS:
        if _ORDER[folder] < _ORDER[stage.phase.folder] or not rooted_path.is_folder(hooks / folder):
            continue
        for entry in os.scandir(hooks / folder):
            path = f"{folder}/{entry.name}"
            if folder == stage.phase.folder and not (path in present and _is_later(entry.name, stage)):
                continue  # the phase's own list was made before
            hook = _read(hooks, path, present, stage)
            if hook is not None:
                left[path] = hook
    return left


def _is_later(name: str, stage: Stage) -> bool:
    return script_order(name) > script_order(stage.name)


def _read(hooks: Path, path: str, present: Mapping[str, HookFile], stage: Stage) -> HookFile | None:
    """What a stage has at this path; for a link, the file of its hooks that it leads to. None where that is no file."""
    file = hooks / path
    element = present[path].element if path in present else stage.script.element
    if file.is_symlink():
        target = posixpath.normpath(posixpath.join(HOOKS_OUTSIDE, posixpath.dirname(path), str(file.readlink())))
        hooks_path = target.removeprefix(f"{HOOKS_OUTSIDE}/")
        other = stage.files.get(hooks_path) or present.get(hooks_path)
        if hooks_path != target and other is None and hooks_path != path and (hooks / hooks_path).exists():
            other = _read(hooks, hooks_path, present, stage)
        return HookFile(path, element, other.mode, other.data) if other else None
    if not file.is_file():
        return None
    return HookFile(path, element, 0o755 if file.stat().st_mode & 0o111 else 0o644, file.read_bytes())
