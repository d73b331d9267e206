"""What a shell at a stage needs, written down for the process that has the user's terminal."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from blockdev.core.digest import digest
from stages.layers.hooks_folder import write_hooks
from stages.layers.store import Store, Workplace
from stages.plan.plan import Stage
from stages.redaction.private import write_private
from stages.sandbox.paths import HOOKS_INSIDE, HOOKS_OUTSIDE


def write(store: Store, stage: Stage, chain: Sequence[str], place: Workplace | None, more: Mapping[str, Any]) -> str:
    """Write down a session at a stage on a chain of layers (``stages.agent.shell_session``); return its name.

    ``place`` is where the stage failed: what it left there is shown too. ``more`` is the rest of its content.
    """
    session = f"{os.getpid()}-{stage.number}-{digest(stage.key + str(time.time()))[:8]}"
    folder = store.root / "sessions" / session
    lent = store.lend(f"sessions/{session}", *(f"layers/{layer}" for layer in chain))
    folder.mkdir()
    write_hooks(stage.files, folder / "hooks")
    if place is not None:
        place.upper.rename(folder / "layer")
        place.upper.mkdir()
    content = {
        "chain": list(chain),
        "lent": lent,
        "inside": stage.phase.inside,
        "script": f"{HOOKS_INSIDE if stage.phase.inside else HOOKS_OUTSIDE}/{stage.script.path}",
        "title": stage.title,
    }
    write_private(folder / "session.json", json.dumps({**content, **more}))
    return session
