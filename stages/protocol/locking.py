"""What a request says of locks; what a lock has is in ``stages.protocol.lock_record``, which few builds read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blockdev.core.typed_json import Struct

COMMIT = r"(?:[0-9a-f]{40}|[0-9a-f]{64})\Z"  # of git: a pattern
_NOTHING: Mapping[str, Any] = {}


class Locking(Struct):
    """What a request says of locks; all empty where it says nothing.

    ``report`` asks for what was used, ``vendor`` for the files too, but those in ``held``. ``locked`` is what must be
    used, as ``stages.protocol.lock_record`` writes it; ``offered`` are files that the host has for it. ``held`` and
    ``offered`` map a path (``lists/SHA256/NAME``, ``packages/NAME``) to the SHA-256 of the content, unpacked.
    ``snapshot`` is a time stamp (``20261101T000000Z``), ``scheme`` how addresses of snapshots are made.
    """

    report: bool = False
    vendor: bool = False
    held: Mapping[str, str] = _NOTHING
    locked: Mapping[str, Any] = _NOTHING
    offered: Mapping[str, str] = _NOTHING
    snapshot: str = ""
    scheme: str = ""
