"""The variables that a stage is given just before it runs: environment.d, sourced in the tree."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

from stages.element.dib_runtime import places
from stages.element.environment import RELEASE, parse_capture
from stages.element.tree_snippets import MARK, argv
from stages.layers.hooks_folder import write_hooks
from stages.layers.stage_output import Lines
from stages.plan.plan import Plan, Stage
from stages.sandbox import sandbox
from stages.sandbox.paths import HOOKS_INSIDE
from stages.sandbox.view import View


def late_variables(
    plan: Plan, stage: Stage, view: View, scratch: Path, lines: Lines, stopped: Callable[[], bool]
) -> tuple[int, dict[str, str]]:
    """Source the snippets in the tree that the stage's ``view`` has; ``scratch`` is an empty folder.

    ``lines`` gets what they say. Returns the status, and of the stage's late variables those that are exported. What
    the snippets change in the tree they change there, as with diskimage-builder. A stage outside has the build image's
    where the tree has no bash.
    """
    if not stage.phase.inside and not os.path.lexists(view.tree / "bin/bash"):
        return 0, {name: plan.environment[name] for name in stage.late if name in plan.environment}
    (scratch / "root").mkdir(parents=True)
    sourcing = plan.sourcing
    hooks = write_hooks({hook.path: hook for hook in sourcing.snippets}, scratch / "hooks")
    inside = dataclasses.replace(
        view,
        inside=True,
        hooks=hooks,
        hooks_writable=False,
        scratch=scratch / "root",
        network=False,
        image_cache=None,
        given={},
        settings=None,
    )
    release = plan.environment.get(RELEASE)
    environment = {**sourcing.initial, **({RELEASE: release} if release else {}), **places(HOOKS_INSIDE, inside=True)}
    command = argv([f"{HOOKS_INSIDE}/{hook.path}" for hook in sourcing.snippets])
    output = bytearray()
    status = sandbox.run(inside, command, environment, output.extend, stopped=stopped)
    said, _, exported = bytes(output).partition(MARK)
    lines.add(said)
    lines.end()
    captured = parse_capture(exported)
    return status, {name: captured[name] for name in stage.late if name in captured}
