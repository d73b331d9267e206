"""Caches elsewhere, from within the build container: what they offer is brought into the store, layer by layer.

The host alone speaks to caches and knows their credentials; here arrive blobs, which it has compared with their
digests. What goes wrong with one costs time: its stage runs.
"""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from blockdev.core.errors import BuildError
from blockdev.core.typed_json import Struct, read
from stages.layers.builder import Builder
from stages.layers.digest_list import list_folder
from stages.layers.finished_output import adopt_done
from stages.layers.store import Record, Store, Workplace
from stages.outputs.store import OutputStore
from stages.plan.plan import Stage
from stages.protocol import events
from stages.protocol.control import CACHE_BLOB, REFUSED, Control
from stages.protocol.emit import emit
from stages.remote_cache.layer_archive import BadLayerError, PackedRecord, unpack
from stages.remote_cache.offers import Offer, Step, chain_digest, longest

UNPACKERS = 2


class GoneError(BuildError):
    """A blob that was offered could not be fetched; the host has said why."""


class CacheAnswer(Struct):
    """The host's answer: the (key, layer) that each cache to write to has, and what offers itself to be an Offer."""

    held: tuple[tuple[str, str], ...]
    offers: tuple[Any, ...]


@dataclass
class RemoteCacheImporter:
    """What the host's caches offer for one plan. ``held`` are the (key, layer) that each cache to write to has."""

    store: Store
    control: Control
    builder: Builder
    steps: list[Step] = field(default_factory=list)
    held: frozenset[tuple[str, str]] = frozenset()

    def ask(self, keys: Sequence[str]) -> dict[str, list[Offer]]:
        """What the caches have of these keys; the host has asked them once, and answers from what it knows."""
        emit(events.Lookup(keys=list(keys)))
        answer = read(CacheAnswer, json.loads(self.control.line()))
        self.held |= {*answer.held}
        offers: dict[str, list[Offer]] = {}
        for data in answer.offers:
            offer = Offer.read(data)
            if offer:
                offers.setdefault(offer.key, []).append(offer)
        return offers

    def look(self, stages: Sequence[Stage], *, read: bool) -> None:
        """Ask what there is of all stages, and decide what of it is of use; ``read`` False: nothing."""
        offers = self.ask([stage.key for stage in stages])
        if offers and read:
            local = {stage.key: self.builder.record(stage) for stage in stages}
            self.steps = longest([stage.key for stage in stages], local.get, offers)
        self.builder.sources = {offer.key: offer.source for offer in self.offered}

    @property
    def offered(self) -> list[Offer]:
        """The layers that are to come from elsewhere."""
        return [step for step in self.steps if isinstance(step, Offer)]

    @property
    def chain(self) -> tuple[str, ...]:
        """The layers of what was decided upon, here or not."""
        chain: tuple[str, ...] = ()
        for step in self.steps:
            chain = step.chain(chain) if isinstance(step, Offer) else step.chain()
        return chain

    def fetch_outputs(self, keys: Sequence[str]) -> bool:
        """Bring finished outputs of these keys into the store; tells whether all are there now."""
        offers = self.ask(keys)
        below = chain_digest(self.chain)
        fitting = [next((each for each in offers.get(key, ()) if each.below == below), None) for key in keys]
        chosen = [offer for offer in fitting if offer]
        if len(chosen) < len(keys):
            return False
        emit(events.Fetch(blobs=[offer.blob for offer in chosen]))
        return all(self._fetch_output(offer) for offer in chosen)

    def _fetch_output(self, offer: Offer) -> bool:
        outputs = OutputStore(self.store)
        with outputs.lock(offer.key), self.store.workplace() as workplace:
            self.store.pin(f"outputs/{offer.key}")
            try:
                file = self._bring(offer, workplace)
                _unpack(file, offer, workplace)
                if list_folder(str(workplace.upper)).digest != offer.content:
                    raise BadLayerError("its files are not those that were kept")
                adopt_done(workplace.upper)
                outputs.put(offer.key, workplace.upper)
            except GoneError:
                return False
            except OSError as error:
                emit(events.Bad(blob=offer.blob, why=f"there is no room for it here ({error.strerror})"))
                return False
            except (BuildError, ValueError, TypeError) as error:
                emit(
                    events.Bad(
                        blob=offer.blob, why=error.what if isinstance(error, BuildError) else "it makes no sense"
                    )
                )
                return False
        return True

    def fetch(self, stages: Sequence[Stage]) -> None:
        """Bring the layers of all offers decided upon into the store, as far as that goes; from there on stages run."""
        work = list(zip(stages, self.steps, strict=False))
        if not any(isinstance(step, Offer) for _, step in work):
            return
        emit(events.Fetch(blobs=[offer.blob for offer in self.offered]))
        with ThreadPoolExecutor(UNPACKERS) as pool, contextlib.ExitStack() as held:
            chain: tuple[str, ...] = ()
            coming: list[_Coming] = []
            for stage, step in work:
                if isinstance(step, Offer):
                    begun = self._begin(stage, step, chain, held, pool)
                    if begun is None:
                        break
                    coming += [begun] if isinstance(begun, _Coming) else []
                chain = step.chain(chain) if isinstance(step, Offer) else step.chain()
            for each in coming:
                if not self._keep(each):
                    break
        self.builder.sources = {key: self.builder.sources[key] for key in self.builder.fetched}
        self.steps = []

    def _begin(
        self, stage: Stage, offer: Offer, chain: tuple[str, ...], held: contextlib.ExitStack, pool: ThreadPoolExecutor
    ) -> _Coming | Record | None:
        """Bring a blob and begin to unpack it, unless the layer is here by now; None where that cannot be."""
        held.enter_context(self.store.lock(stage.key))  # another build that fetches or runs it is waited for
        record = self.store.find(stage.key)
        if record and record.below == chain and record.layer == offer.layer:
            return record
        workplace = held.enter_context(self.store.workplace())
        try:
            file = self._bring(offer, workplace)
        except GoneError:
            return None
        except OSError as error:
            emit(events.Bad(blob=offer.blob, why=f"there is no room for it here ({error.strerror})"))
            return None
        return _Coming(stage, offer, chain, workplace, pool.submit(_unpack, file, offer, workplace))

    def _bring(self, offer: Offer, workplace: Workplace) -> Path:
        """The blob as a file in a place; raises GoneError, OSError."""
        file = workplace.path / "blob"
        with file.open("wb") as out:
            out.writelines(self._pieces(offer))
        return file

    def _pieces(self, offer: Offer) -> Iterator[bytes]:
        """The blob, piece by piece; the next one is on its way while this one is written."""
        offset = 0
        emit(events.Want(path=f"{CACHE_BLOB}{offer.blob}", offset=0))
        while offset < offer.size:
            line = self.control.line()
            if line.startswith(REFUSED.encode()) or not line:
                raise GoneError("a layer cannot be fetched")
            data = base64.b64decode(line)
            offset += len(data)
            if offset < offer.size:
                emit(events.Want(path=f"{CACHE_BLOB}{offer.blob}", offset=offset))
            yield data

    def _keep(self, coming: _Coming) -> bool:
        """Make what was unpacked a layer of the store; tells, after saying why not, whether it is one."""
        try:
            record = _record(coming, coming.unpacked.result())
            self.store.adopt(coming.workplace, record, self.builder.place_of(coming.stage), coming.offer.content)
        except OSError as error:
            emit(events.Bad(blob=coming.offer.blob, why=f"there is no room for it here ({error.strerror})"))
        except BuildError as error:
            emit(events.Bad(blob=coming.offer.blob, why=error.what))
        except (KeyError, TypeError, ValueError):
            emit(events.Bad(blob=coming.offer.blob, why="its record makes no sense"))
        else:
            self.builder.fetched.append(coming.stage.key)
            return True
        return False


@dataclass(frozen=True)
class _Coming:
    """A layer on its way into the store; ``unpacked`` will be the record that came with it."""

    stage: Stage
    offer: Offer
    below: tuple[str, ...]
    workplace: Workplace
    unpacked: Future[PackedRecord]


class _Bounded:
    """A stream that ends where more comes out of it than was announced: it would fill the disk."""

    def __init__(self, stream: BinaryIO, most: int) -> None:
        self._stream, self._left = stream, most

    def read(self, size: int) -> bytes:
        """The next bytes."""
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise BadLayerError("there is more in it than was announced")
        return data


def _unpack(file: Path, offer: Offer, workplace: Workplace) -> PackedRecord:
    """Unpack a blob into the place's future layer; the blob goes."""
    with subprocess.Popen(["zstd", "-dcq", str(file)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as zstd:
        assert zstd.stdout is not None
        try:
            record = unpack(_Bounded(zstd.stdout, offer.unpacked), workplace.upper)  # type: ignore[arg-type]
        finally:
            zstd.stdout.close()
            zstd.kill()
    file.unlink()
    if (record.key, record.below, record.layer) != (offer.key, offer.below, offer.layer):
        raise BadLayerError("it is another stage's layer")
    return record


def _record(coming: _Coming, packed: PackedRecord) -> Record:
    stage = coming.stage
    return Record(
        key=stage.key,
        layer=coming.offer.layer,
        below=coming.below,
        parts=packed.parts,
        inputs=dict(stage.inputs),
        title=stage.title,
        created=packed.created,
        seconds=packed.seconds,
        bytes=0,
        boot="",
    )
