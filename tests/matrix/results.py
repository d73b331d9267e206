"""What became of each row, and the table for people."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from tests.matrix.rows import Row

BUILT, BOOTED, FAILED, NONE = "built", "booted", "failed", ""
BEGIN, END = "<!-- matrix -->", "<!-- end of the matrix -->"
FACTS_BEGIN, FACTS_END = "<!-- facts -->", "<!-- end of the facts -->"
HEAD = "| distribution | release | architecture | mirror | last run | OCI image | s | disk image | s |"
FILE = Path(__file__).with_name("results.json")  # of the last run of each row, for docs/matrix.md


@dataclass(frozen=True)
class Result:
    """One row: the state of its image and of its disk (built, booted, failed or nothing), seconds and bytes of each.

    ``reason`` says what failed, ``day`` and ``commit`` when it was run, and of what. ``facts`` counts what the
    distribution's own mirrors said to the facts about the release, by state, on ``facts_day``.
    """

    name: str
    image: str = NONE
    image_seconds: float = 0.0
    image_bytes: int = 0
    disk: str = NONE
    disk_seconds: float = 0.0
    disk_bytes: int = 0
    reason: str = ""
    day: str = ""
    commit: str = ""
    facts: Mapping[str, int] = field(default_factory=dict)
    facts_day: str = ""

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
        if before and before.facts and not result.facts:
            result = replace(result, facts=before.facts, facts_day=before.facts_day)
        if before and before.disk and not result.disk and not result.failed:
            result = replace(result, disk=before.disk, disk_seconds=before.disk_seconds, disk_bytes=before.disk_bytes)
        found[result.name] = result
        held.truncate(0)
        held.write(json.dumps({name: asdict(each) for name, each in sorted(found.items())}, indent=1) + "\n")


def add_facts(file: Path, name: str, facts: Mapping[str, int], day: str) -> None:
    """Write what mirrors said to the facts about a row's release into a file; its result stays as it is."""
    with file.open("a", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        found = known(file)
        found[name] = replace(found.get(name, Result(name)), facts=dict(facts), facts_day=day)
        held.truncate(0)
        held.write(json.dumps({name: asdict(each) for name, each in sorted(found.items())}, indent=1) + "\n")


def _size(count: int) -> str:
    return f", {count / 1e6:.1f} MB" if count else ""


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds else ""


def table(rows: Sequence[Row], results: Mapping[str, Result]) -> str:
    """The rows that there are results for, as a Markdown table; a row that failed says why."""
    lines = [HEAD, "| --- | --- | --- | --- | --- | --- | ---: | --- | ---: |"]
    for row in rows:
        found = results.get(row.name)
        if found is None or not found.image:
            continue
        image = f"{found.image}{_size(found.image_bytes)}"
        disk = f"{found.disk}{_size(found.disk_bytes)}"
        reason = f": {found.reason}".replace("|", "\\|") if found.failed else ""
        if found.image == FAILED:
            image += reason
        elif found.disk == FAILED:
            disk += reason
        mirror = f"{row.mirror}, main suite alone" if row.main_only else row.mirror
        run = f"{found.day} ({found.commit})" if found.commit else found.day
        cells = (row.distribution, row.release, row.arch, mirror, run, image, _seconds(found.image_seconds), disk)
        lines.append(f"| {' | '.join(cells)} | {_seconds(found.disk_seconds)} |")
    return "\n".join(lines)


def distributions(rows: Sequence[Row], results: Mapping[str, Result], untried: Mapping[str, Mapping[str, str]]) -> str:
    """A line for each distribution: its rows' mirror, the last run, what its own mirrors said, what is untried."""
    lines = [
        "| distribution | mirror of its rows | last run | its own mirrors on the facts | untried of the real one |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, said in untried.items():
        mine = [row for row in rows if row.distribution == name]
        found = [results[row.name] for row in mine if row.name in results]
        mirrors = ", ".join(dict.fromkeys(row.mirror for row in mine)) or "no row"
        run = max((each.day for each in found if each.image), default="never")
        more = f"{said['untried']} ([more]({said['page']}))"
        lines.append(f"| {name} | {mirrors} | {run} | {_asked(found)} | {more} |")
    return "\n".join(lines)


def _asked(found: Sequence[Result]) -> str:
    """What the mirrors said to the facts about these rows' releases, in one sentence."""
    asked = [each for each in found if each.facts]
    if not asked:
        return "never"
    counts = {
        state: sum(each.facts.get(state, 0) for each in asked) for state in ("verified", "differs", "not reached")
    }
    day = min(each.facts_day for each in asked)
    if not counts["verified"] and not counts["differs"]:
        return f"{day}: not reached"
    return f"{day}: {', '.join(f'{count} {state}' for state, count in counts.items())}"


def placed(document: str, made: str, marks: tuple[str, str] = (BEGIN, END)) -> str:
    """The document with the table between its two marks; ValueError where it has none."""
    before, begin, rest = document.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not begin or not end:
        raise ValueError(f"the document has no {marks[0]} ... {marks[1]}")
    return f"{before}{begin}\n{made}\n{end}{after}"
