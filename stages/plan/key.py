"""Keys: what a stage depends on, named part by part, and the digest over it.

A key's parts are kept beside the layer, so that a later miss can say which of them changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from blockdev.core.digest import digest

# Raise it when the meaning of a stage changes without any of its inputs changing (mounts, environment, layer format).
FORMAT = 11

Inputs = Mapping[str, str]


def key_of(inputs: Inputs) -> str:
    """The key over named inputs: SHA-256 of their canonical JSON, hexadecimal."""
    return digest(json.dumps({**inputs, "format": str(FORMAT)}, sort_keys=True, separators=(",", ":")))


def _names(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def why_missed(inputs: Inputs, last: Inputs | None) -> str:
    """Why a stage with these inputs was not found, compared with the last ones that its place in a plan had.

    ``last`` is None where nothing was ever kept for that place. One short phrase for a person.
    """
    if last is None:
        return "never built"
    changed = sorted(name for name in inputs if name in last and inputs[name] != last[name])
    added = sorted(name for name in inputs if name not in last)
    gone = sorted(name for name in last if name not in inputs and name != "format")
    own = [name for name in changed if name != "below"]
    parts = []
    if own:
        parts.append(f"changed: {_names(own)}")
    if added:
        parts.append(f"new: {_names(added)}")
    if gone:
        parts.append(f"gone: {_names(gone)}")
    if not parts:
        return "a stage before it changed" if "below" in changed else "no longer in the store"
    return "; ".join(parts)
