"""This program's own code as files, for processes of their own: in a build container it is in memory."""

from __future__ import annotations

import threading
from pathlib import Path

_PACKAGES = Path(__file__).parents[2]
_SUFFIX = Path(__file__).suffix
_write = getattr(__spec__.loader, "write", None)  # of ``stages.agent.bootstrap.Modules``
_guard = threading.Lock()


def folder() -> Path:
    """The folder with all packages."""
    with _guard:
        if _write and not (_PACKAGES / "stages/agent/main.pyc").is_file():
            _write()
    return _PACKAGES


def program(module: str) -> Path:
    """The file of a module."""
    path = f"{module.replace('.', '/')}{_SUFFIX}"
    with _guard:
        if _write and not (_PACKAGES / path).is_file():
            _write(path)
    return _PACKAGES / path
