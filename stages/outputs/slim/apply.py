"""A finish done to a tree that may be changed: what it leaves out is removed, what it writes is written."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from stages.outputs.slim.changes import Finish
from stages.outputs.slim.patterns import Selection


def apply(tree: Path, changed: Finish) -> None:
    """Make of ``tree`` what exporters would make of it; a folder on the way to something kept stays."""
    if not changed.selection.empty:
        _remove(tree, b"", changed.selection)
    for path, data in changed.contents.items():
        place = tree / os.fsdecode(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_file():  # owner and mode stay
            place.write_bytes(data)
        else:
            place.write_bytes(data)
            place.chmod(0o644)


def _remove(folder: Path, prefix: bytes, selection: Selection) -> bool:
    """Remove what is left out of ``folder``, whose own name ends ``prefix``. Returns whether anything is left in it."""
    left = False
    for path in sorted(folder.iterdir()):
        name = prefix + os.fsencode(path.name)
        mode = path.lstat().st_mode
        dropped = selection.drops(name, mode)
        if stat.S_ISDIR(mode):
            if dropped and not selection.leads_to_kept(name):
                shutil.rmtree(path)
            elif not _remove(path, name + b"/", selection) and dropped:
                path.rmdir()
            else:
                left = True
        elif dropped:
            path.unlink()
        else:
            left = True
    return left
