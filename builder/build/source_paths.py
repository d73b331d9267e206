"""A build's complaints name elements' files as they lie in the build container; people know them by their own paths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from stages.protocol.events import Error

_THERE = re.compile(r"/[^\s:]*?/request/elements/([^/\s:]+)")


def paths_for_user(error: Error, folders: Mapping[str, Path]) -> Error:
    """An error with each element's folder in its texts as it is on this machine, by ``folders``."""

    def own(match: re.Match[str]) -> str:
        return str(folders.get(match[1], match[0]))

    return error.replace(**{part: _THERE.sub(own, getattr(error, part)) for part in ("what", "where", "hint")})
