"""Where the build's elements and shell functions lie."""

from __future__ import annotations

import os


def get_path(var: str) -> str:
    """The folder of ``elements`` or ``lib``; SystemExit for anything else."""
    names = {"elements": "ELEMENTS_PATH", "lib": "_LIB"}
    if var not in names:
        raise SystemExit(f"no path is called {var!r}: elements, lib")
    return os.environ[names[var]]


def show_path(var: str) -> None:
    """Print :func:`get_path`."""
    print(get_path(var))
