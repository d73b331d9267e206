"""What a build does about caches elsewhere, step by step; what each step needs is imported only then."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stages.control import Control
from stages.events import emit
from stages.outputs import Exporter, FinishedTree
from stages.plan import Plan, Stage
from stages.request import Request
from stages.store import Store

if TYPE_CHECKING:
    from stages.elsewhere import Elsewhere
    from stages.layers import Builder
    from stages.packing import Packer

Held = frozenset[tuple[str, str]]


def look(
    request: Request, store: Store, control: Control, builder: Builder, stages: Sequence[Stage]
) -> Elsewhere | None:
    """What the host's caches have of these stages; None where it has no caches."""
    if not request.caches:
        return None
    from stages.elsewhere import Elsewhere

    elsewhere = Elsewhere(store, control, builder)
    elsewhere.look(stages, read="read" in request.caches and not request.no_cache)
    return elsewhere


def needs_no_tree(request: Request, store: Store, scratch: Path, plan: Plan, elsewhere: Elsewhere) -> bool:
    """Is everything that is asked for at its destination already: then no layer is fetched."""
    if len(elsewhere.steps) < len(plan.stages) or not elsewhere.offered:
        return False
    if request.locking.report or request.locking.used or request.breaks or request.stop_at:
        return False
    if any("cwd" in step.parts for step in elsewhere.steps):  # what scripts leave beside the image is fetched anew
        return False
    return Exporter(request, store, FinishedTree(plan, elsewhere.chain, {}), scratch).unchanged()


def share(request: Request, store: Store, packer: Packer, keys: Sequence[str], held: Held) -> None:
    """Have the host fetch the layers of these keys that its caches do not hold; where that cannot be, it is said."""
    records = [store.find(key) for key in keys]
    if request.caches["write"] == "max":
        records += store.records()
    wanted = {(record.key, record.layer): record for record in records if record}
    try:
        folder = packer.finish(record for name, record in wanted.items() if name not in held)
    except OSError as error:
        emit("note", text=f"no layer goes to a cache: they cannot be packed ({error.strerror or error})")
        return
    if folder:
        emit("share", path=str(folder))
