"""diskimage-builder itself and elements of others, as test material: fetched once, kept below ~/.cache/dib-ctr-tests.

Nothing of it is part of dib-ctr. The index is pip's (its configuration or ``PIP_INDEX_URL``). Only a package's own
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
# Elements of others, by the name of their package: its version, and their folder in it.
OTHERS = {
    "ironic-python-agent-builder": ("7.4.0", "share/ironic-python-agent-builder/dib"),
    "sahara-image-elements": ("19.0.0", "share/sahara-elements/elements"),
    "tripleo-image-elements": ("15.0.0", "share/tripleo-image-elements"),
    "tripleo-puppet-elements": ("16.0.0", "share/tripleo-puppet-elements"),
}


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "dib-ctr-tests"


def _install(folder: Path, requirement: str, within: str) -> None:
    """Make ``folder`` hold a package, which has ``within``; it appears whole, also where two runs start at once."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="upstream-", dir=folder.parent))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target", str(work)]
    try:
        done = subprocess.run([*command, requirement], check=False, capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            message = f"pip could not fetch {requirement}:\n{done.stderr.strip()}"
            raise RuntimeError(message)
        work.chmod(0o755)  # a build's root, another user, reads the elements
        try:
            work.rename(folder)
        except OSError:
            if not (folder / within).is_dir():
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _fetched(name: str, version: str, within: str) -> Path:
    folder = _cache() / f"{name}-{version}"
    if not (folder / within).is_dir():
        _install(folder, f"{name}=={version}", within)
    return folder / within


@cache
def package() -> Path:
    """The folder of the Python package ``diskimage_builder``, with ``elements`` and ``lib`` in it.

    Its commands (``dib-lint``, ``disk-image-create``) are in the folder ``bin`` beside it, and do not start without
    the package's dependencies. RuntimeError with pip's message where it cannot be had.
    """
    return _fetched("diskimage-builder", VERSION, "diskimage_builder")


def elements() -> Path:
    """The folder of upstream's elements."""
    return package() / "elements"


def others(name: str) -> Path:
    """The folder of the elements of a package of ``OTHERS``."""
    return _fetched(name, *OTHERS[name])
