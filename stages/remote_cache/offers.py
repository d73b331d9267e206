"""Layers that caches elsewhere offer for a plan, and which of them are of use: pure decisions.

A layer is of use only on top of the very layers it was made on. So an offer says, beside its key, on which chain it
lies, as one digest over the layers' ids; ids travel with the layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from blockdev.core.digest import digest
from blockdev.core.typed_json import integer, read, text
from stages.layers.store import Record

_Digest = Annotated[str, text(71, r"sha256:[0-9a-f]{64}")]
_SHORT = 32  # hexadecimal digits of the digest over a chain


def chain_digest(chain: Iterable[str]) -> str:
    """One name for a chain of layers, lowest first."""
    name = ""
    for layer in chain:
        name = on_top(name, layer)
    return name


def on_top(below: str, layer: str) -> str:
    """The name of the chain with one more layer on top ("": the same)."""
    return digest(f"{below} {layer}")[:_SHORT] if layer else below


@dataclass(frozen=True)
class Offer:
    """A stage's layer elsewhere.

    ``below`` is the digest of the chain it lies on, ``layer`` its id ("": the stage changed nothing), ``blob`` the
    digest of the packed layer (``sha256:...``), ``size`` its bytes and ``unpacked`` those of the tar in it. ``content``
    is the digest of the files that are to come out of it (``stages.layers.digest_list``; "" where there are none).
    ``parts`` are the record's; ``source`` names the cache for a person.
    """

    key: str
    below: str
    layer: Annotated[str, text(10, r"(?:[0-9a-f]{10})?")]
    blob: _Digest
    size: Annotated[int, integer(1)]
    unpacked: Annotated[int, integer()]
    parts: tuple[str, ...]
    content: Annotated[str, text(71, r"(?:sha256:[0-9a-f]{64})?")]
    source: str

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Offer | None:
        """An offer as it came from elsewhere; None for one that cannot be."""
        try:
            offer = read(cls, data)
        except ValueError:
            return None
        has_files = bool(offer.layer or offer.parts)
        return offer if offer.content or not has_files else None

    def chain(self, below: tuple[str, ...]) -> tuple[str, ...]:
        """The chain with this layer on top."""
        return (*below, self.layer) if self.layer else below


Step = Record | Offer


def longest(
    keys: Sequence[str], local: Callable[[str], Record | None], offers: Mapping[str, Sequence[Offer]]
) -> list[Step]:
    """For the first stages of a plan, as many as can be had without a run: the record here, or an offer, of each.

    Of several ways the one with the fewest bytes to fetch. ``local`` looks a key up in the store.
    """
    # What each chain of layers that the stages so far may have costs, and how it comes about.
    ways: dict[tuple[str, ...], tuple[int, list[Step]]] = {(): (0, [])}
    for key in keys:
        following: dict[tuple[str, ...], tuple[int, list[Step]]] = {}
        record = local(key)
        by_digest = {chain_digest(chain): chain for chain in ways} if offers.get(key) else {}
        steps: list[tuple[tuple[str, ...], tuple[str, ...], int, Step]] = []
        if record is not None and record.below in ways:
            steps.append((record.below, record.chain(), 0, record))
        for offer in offers.get(key, ()):
            if offer.below in by_digest:
                chain = by_digest[offer.below]
                steps.append((chain, offer.chain(chain), offer.size + 1, offer))
        for below, chain, cost, step in steps:
            total = ways[below][0] + cost
            if chain not in following or total < following[chain][0]:
                following[chain] = (total, [*ways[below][1], step])
        if not following:
            break
        ways = following
    return min(ways.values(), key=lambda way: way[0])[1]
