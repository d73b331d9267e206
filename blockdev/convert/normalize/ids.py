"""Ids of an image that are no chance: each follows from the request's seed and what the id is for."""

from __future__ import annotations

from uuid import UUID, uuid5

_NAMESPACE = UUID("d3a7d0d5-53b4-5b0d-9d1a-6c2f6f4f0c11")
_NO_PARENT = 0xFFFFFFFE  # from here on a VMDK's content id means something else


def derived(seed: str, purpose: str) -> UUID:
    """The UUID (version 5, RFC 9562 section 5.5) of a purpose such as ``vdi/image``."""
    return uuid5(_NAMESPACE, f"{purpose}/{seed}")


def content_id(seed: str) -> int:
    """A VMDK's content id: 32 bits, none of the values that stand for "no parent"."""
    return int.from_bytes(derived(seed, "vmdk/cid").bytes[:4], "big") % _NO_PARENT
