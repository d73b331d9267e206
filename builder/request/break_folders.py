"""Folders of the user's machine that a break command writes to; ``builder.build.break_files`` brings what it left."""

from __future__ import annotations

import os
import re
from pathlib import Path

from builder.request.host_files import may_be_given

_PATH = re.compile(r"/[^\s'\"`$;|&<>()*?\[\]{}]+")


def folders(command: str) -> tuple[str, ...]:
    """The folders of this machine, which the user may write to, that a command names, itself or a file in them."""
    result: dict[str, None] = {}
    for word in _PATH.findall(command):
        path = Path(os.path.normpath(word))
        for folder in (path, path.parent):
            if folder.is_dir():
                if len(folder.parts) > 2 and may_be_given(folder) and os.access(folder, os.W_OK):
                    result[str(folder)] = None
                break
    return tuple(result)
