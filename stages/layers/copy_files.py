"""Copies of files and trees within the store, in ``cp``'s own way."""

from __future__ import annotations

from blockdev.core.errors import BuildError
from blockdev.core.tools import last_line, run


def copy_files(source: str, target: str) -> None:
    """Copy a file, or a tree, with owners, modes, times, links and extended attributes. Raises BuildError."""
    done = run(["cp", "-a", "--reflink=auto", "--", source, target])
    if done.status:
        reason = last_line(done.err)
        raise BuildError(
            f"files of a layer could not be copied: {reason}", hint="is the store's disk full, or failing?"
        )
