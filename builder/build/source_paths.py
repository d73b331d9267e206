"""A build's complaints name elements' files as they lie in the build container; people know them by their own paths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_THERE = re.compile(r"/[^\s:]*?/request/elements/([^/\s:]+)")


def paths_for_user(event: Mapping[str, Any], folders: Mapping[str, Path]) -> dict[str, Any]:
    """An ``error`` event with each element's folder in its texts as it is on this machine, by ``folders``."""

    def own(found: re.Match[str]) -> str:
        return str(folders.get(found[1], found[0]))

    return {**event, **{part: _THERE.sub(own, event[part]) for part in ("what", "where", "hint")}}
