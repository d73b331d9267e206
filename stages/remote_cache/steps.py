"""What a build does about caches elsewhere, step by step; what each step needs is imported only then."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stages.layers.store import Record, Store
from stages.outputs.exporter import Exporter
from stages.outputs.finished_tree import FinishedTree
from stages.plan.plan import Plan, Stage
from stages.protocol import events
from stages.protocol.control import Control
from stages.protocol.emit import emit
from stages.protocol.request import DISK_TYPES, Request
from stages.redaction.keyed import KEYED, KeyDigests

if TYPE_CHECKING:
    from stages.layers.builder import Builder
    from stages.remote_cache.exporter import Packer
    from stages.remote_cache.importer import RemoteCacheImporter


def look(
    request: Request, store: Store, control: Control, builder: Builder, stages: Sequence[Stage]
) -> RemoteCacheImporter | None:
    """What the host's caches have of these stages; None where it has no caches."""
    if not request.caches:
        return None
    from stages.remote_cache.importer import RemoteCacheImporter

    elsewhere = RemoteCacheImporter(store, control, builder)
    elsewhere.look(stages, read="read" in request.caches and not request.no_cache)
    return elsewhere


def needs_no_tree(request: Request, store: Store, scratch: Path, plan: Plan, elsewhere: RemoteCacheImporter) -> bool:
    """Can everything that is asked for be had without the tree: from its destination, the store, or a cache.

    Then no layer is fetched.
    """
    if len(elsewhere.steps) < len(plan.stages) or not elsewhere.offered:
        return False
    if request.locking.report or request.locking.locked or request.breaks or request.stop_at:
        return False
    if any("cwd" in step.parts for step in elsewhere.steps):  # what scripts leave beside the image is fetched anew
        return False
    redaction = elsewhere.builder.digests.redaction
    lacking = Exporter(request, store, FinishedTree(plan, elsewhere.chain, {}, redaction), scratch).lacking()
    if not request.outputs or any(output.type in DISK_TYPES for _, output in lacking):
        return False
    return not lacking or elsewhere.fetch_outputs([key for key, _ in lacking])


def pack(packer: Packer, digests: KeyDigests, record: Record) -> None:
    """Begin to pack the layer of a stage that has run, if it may go to a cache."""
    if digests.may_travel(record.inputs):
        packer.add(record)


def _staying(stages: Sequence[Stage], count: int) -> str:
    seen = [name for name, value in stages[0].inputs.items() if value.startswith(KEYED)]
    return (
        f"{len(stages)} of {count} stages go to no cache, nor does what is made of them: {stages[0].title} sees "
        f"a secret ({', '.join(seen)}), and the others lie on it; DIB_CTR_KEY_SECRET lets them (docs/shared-cache.md)"
    )


def share(
    request: Request,
    store: Store,
    packer: Packer,
    keys: Sequence[str],
    exporter: Exporter,
    elsewhere: RemoteCacheImporter,
) -> None:
    """Have the host fetch the layers of these keys, and the outputs, that its caches do not hold.

    Disk images stay: they are large, and soon written from the tree. Where nothing can be packed, it is said.
    """
    digests = elsewhere.builder.digests
    records = [store.find(key) for key in keys]
    if request.caches["write"] == "max":
        records += store.records()
    to_send = {(record.key, record.layer): record for record in records if record and digests.may_travel(record.inputs)}
    to_send = {name: record for name, record in to_send.items() if name not in elsewhere.held}
    store.digests.require(record.layer for record in to_send.values() if record.layer)
    outputs = {exporter.key(output): output for output in request.outputs if output.type not in DISK_TYPES}
    staying = [stage for stage in exporter.tree.plan.stages if not digests.may_travel(stage.inputs)]
    if staying:
        outputs = {}
        emit(events.Note(text=_staying(staying, len(exporter.tree.plan.stages))))
    elsewhere.ask(list(outputs))
    for key, output in outputs.items():
        if (key, "") not in elsewhere.held:
            exporter.ensure(key, output)  # the host may have it, and the store not
            exporter.sent.helpers.add(key)
            packer.add_output(key, output.type, exporter.tree.chain)
    try:
        folder = packer.finish(to_send.values())
    except OSError as error:
        emit(events.Note(text=f"no layer goes to a cache: they cannot be packed ({error.strerror or error})"))
        return
    if folder:
        emit(events.Share(path=str(folder)))
