"""The elements of the build that runs; what they need has been resolved before it began."""

from __future__ import annotations

import os
from pathlib import Path


def get_elements(elements: list[str], paths: list[str] | None = None) -> list[tuple[str, str]]:
    """(name, folder) of these elements and all that they need, among those of the build."""
    by_name: dict[str, str] = {}
    folders = [Path(path) for path in paths or os.environ["ELEMENTS_PATH"].split(":")]
    pending = list(elements)
    while pending:
        name = pending.pop(0)
        folder = next((path / name for path in folders if (path / name).is_dir()), None)
        if folder is None or name in by_name:
            continue
        by_name[name] = str(folder)
        deps = folder / "element-deps"
        if deps.is_file():
            pending += deps.read_text(encoding="utf-8").split()
    return sorted(by_name.items())


def expand_dependencies(user_elements: list[str], element_dirs: str) -> set[str]:
    """The names of :func:`get_elements`; ``element_dirs`` is a list of folders with ``:`` between them."""
    return {name for name, _ in get_elements(user_elements, element_dirs.split(":"))}
