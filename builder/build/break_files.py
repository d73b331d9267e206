"""What a break command writes into folders of the user's machine: it runs in the build container, and they are there.

Folders that the command names by absolute paths show to it, empty; what it leaves in them comes to the machine's own
afterwards, as files that scripts leave beside the image do: no link leads out of them, and nothing is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from blockdev.core.errors import BuildError
from builder import destination


def bring(session: str, folders: Iterable[str], fetch: Callable[[str], Any], note: Callable[[str], None]) -> None:
    """Bring what was left in the folders of a session's command; ``session`` is its folder in the store."""
    for number, folder in enumerate(folders):
        target = Path(folder)
        try:
            with destination.partial(target / "break.files") as partial:
                files = destination.bring_side_files(fetch(f"{session}/taken/{number}"), partial, target)
                files.left_to_do(destination.memory(), replace=False).appear()
        except BuildError as error:
            note(f"what the break command left in {folder} stays there: {error.what}")
