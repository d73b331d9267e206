"""diskimage-builder itself, as test material: fetched once from the package index, kept below ~/.cache/dib-ctr-tests.

Nothing of it is part of dib-ctr. The index is pip's (its configuration or ``PIP_INDEX_URL``). Only the package's own
files are fetched, none of what it depends on: its elements are read, not its Python code.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

VERSION = "3.43.0"


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "dib-ctr-tests"


def _install(folder: Path) -> None:
    """Make ``folder`` hold the package; it appears whole, also where two test runs start at once."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="upstream-", dir=folder.parent))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target", str(work)]
    try:
        done = subprocess.run(
            [*command, f"diskimage-builder=={VERSION}"], check=False, capture_output=True, text=True, timeout=600
        )
        if done.returncode != 0:
            message = f"pip could not fetch diskimage-builder {VERSION}:\n{done.stderr.strip()}"
            raise RuntimeError(message)
        work.chmod(0o755)  # a build's root, another user, reads the elements
        try:
            work.rename(folder)
        except OSError:
            if not (folder / "diskimage_builder").is_dir():
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


@cache
def package() -> Path:
    """The folder of the Python package ``diskimage_builder``, with ``elements`` and ``lib`` in it.

    Its commands (``dib-lint``, ``disk-image-create``) are in the folder ``bin`` beside it, and do not start without
    the package's dependencies. RuntimeError with pip's message where it cannot be had.
    """
    folder = _cache() / f"diskimage-builder-{VERSION}"
    if not (folder / "diskimage_builder").is_dir():
        _install(folder)
    return folder / "diskimage_builder"


def elements() -> Path:
    """The folder of upstream's elements."""
    return package() / "elements"
