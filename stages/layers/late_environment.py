"""The variables that a stage is given just before it runs: environment.d, sourced in the tree."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stages.element.dib_runtime import places
from stages.element.environment import RELEASE, parse_capture
from stages.element.hooks import HookFile
from stages.element.tree_snippets import MARK, argv
from stages.layers.hooks_folder import write_hooks
from stages.plan.plan import Plan, Stage
from stages.sandbox import sandbox
from stages.sandbox.paths import HOOKS_INSIDE
from stages.sandbox.view import View


@dataclass(frozen=True)
class LateVariables:
    """What is sourced for a stage: ``snippets`` are texts by path, in order, ``initial`` the variables before them.

    ``beside`` are the texts of the files that they name, by path.

    ``names`` are those that the stage is given. ``otherwise`` has them for a stage outside, where the tree has no bash;
    None: there is nothing otherwise.
    """

    names: tuple[str, ...]
    snippets: Mapping[str, str]
    initial: Mapping[str, str]
    otherwise: Mapping[str, str] | None
    beside: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: Plan, stage: Stage) -> LateVariables:
        """Those of a stage."""
        initial = {**plan.sourcing.initial, **places(HOOKS_INSIDE, inside=True)}
        if release := plan.environment.get(RELEASE):
            initial[RELEASE] = release
        snippets = _texts(plan.sourcing.snippets)
        beside = _texts(plan.sourcing.files.values())
        here = {name: plan.environment[name] for name in stage.late if name in plan.environment}
        return cls(stage.late, snippets, initial, None if stage.phase.inside else here, beside)

    def source(
        self, view: View, scratch: Path, say: Callable[[bytes], None], stopped: Callable[[], bool] = lambda: False
    ) -> tuple[int, dict[str, str]]:
        """Source them in the tree that ``view`` has; ``scratch`` is a folder that is not there yet.

        ``say`` gets what they print. Returns the status, and of the names those that are exported. What the snippets
        change in the tree they change there, as with diskimage-builder.
        """
        if self.otherwise is not None and not os.path.lexists(view.tree / "bin/bash"):
            return 0, dict(self.otherwise)
        (scratch / "root").mkdir(parents=True)
        files = {
            path: HookFile(path, "", 0o755, text.encode("utf-8", "surrogateescape"))
            for path, text in {**self.beside, **self.snippets}.items()
        }
        inside = dataclasses.replace(
            view,
            inside=True,
            hooks=write_hooks(files, scratch / "hooks"),
            hooks_writable=False,
            scratch=scratch / "root",
            network=False,
            image_cache=None,
            given={},
            settings=None,
        )
        output = bytearray()
        command = argv([f"{HOOKS_INSIDE}/{path}" for path in self.snippets])
        status = sandbox.run(inside, command, self.initial, output.extend, stopped=stopped)
        printed, _, exported = bytes(output).partition(MARK)
        say(printed)
        captured = parse_capture(exported)
        return status, {name: captured[name] for name in self.names if name in captured}


def _texts(hooks: Iterable[HookFile]) -> dict[str, str]:
    return {hook.path: hook.data.decode("utf-8", "surrogateescape") for hook in hooks}
