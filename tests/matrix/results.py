"""What became of each row, and the table for people."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tests.matrix.rows import Row

BUILT, BOOTED, FAILED, NONE = "built", "booted", "failed", ""
BEGIN, END = "<!-- matrix -->", "<!-- end of the matrix -->"
HEAD = "| distribution | release | architecture | mirror | OCI image | s | disk image | s |"


@dataclass(frozen=True)
class Result:
    """One row: the state of its image and of its disk (built, booted, failed or nothing), seconds and bytes of each.

    ``reason`` says what failed.
    """

    name: str
    image: str = NONE
    image_seconds: float = 0.0
    image_bytes: int = 0
    disk: str = NONE
    disk_seconds: float = 0.0
    disk_bytes: int = 0
    reason: str = ""

    @property
    def failed(self) -> bool:
        """Did anything fail."""
        return FAILED in (self.image, self.disk)


def known(file: Path) -> dict[str, Result]:
    """The results in a file, by their rows' names; none where it is not there."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    return {name: Result(**entry) for name, entry in json.loads(text or "{}").items()}


def add(file: Path, result: Result) -> None:
    """Write one result into a file, in the place of an older one; other runs may be writing theirs.

    Of a run without disks an older disk stays.
    """
    with file.open("a", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        found = known(file)
        before = found.get(result.name)
        if before and before.disk and not result.disk and not result.failed:
            result = replace(
                before, image=result.image, image_seconds=result.image_seconds, image_bytes=result.image_bytes
            )
        found[result.name] = result
        held.truncate(0)
        held.write(json.dumps({name: asdict(each) for name, each in sorted(found.items())}, indent=1) + "\n")


def _size(count: int) -> str:
    return f", {count / 1e6:.1f} MB" if count else ""


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds else ""


def table(rows: Sequence[Row], results: Mapping[str, Result]) -> str:
    """The rows that there are results for, as a Markdown table; a row that failed says why."""
    lines = [HEAD, "| --- | --- | --- | --- | --- | ---: | --- | ---: |"]
    for row in rows:
        found = results.get(row.name)
        if found is None:
            continue
        image = f"{found.image}{_size(found.image_bytes)}"
        disk = f"{found.disk}{_size(found.disk_bytes)}"
        reason = f": {found.reason}".replace("|", "\\|") if found.failed else ""
        if found.image == FAILED:
            image += reason
        elif found.disk == FAILED:
            disk += reason
        mirror = f"{row.mirror}, main suite alone" if row.main_only else row.mirror
        cells = (row.distribution, row.release, row.arch, mirror, image, _seconds(found.image_seconds), disk)
        lines.append(f"| {' | '.join(cells)} | {_seconds(found.disk_seconds)} |")
    return "\n".join(lines)


def placed(document: str, made: str) -> str:
    """The document with the table between its two marks; ValueError where it has none."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document has no {BEGIN} ... {END}")
    return f"{before}{begin}\n{made}\n{end}{after}"
