"""What became of each element: the outcome of one build, and the table for people."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.compat.table import Row

BUILDS, SAME, DIFFERS, FAILS, CANNOT, OPEN = "builds", "builds, as DIB's", "differs", "fails", "cannot", "not tried"


@dataclass(frozen=True)
class Result:
    """One element: how it went, why where that is no success, and how many seconds it took."""

    name: str
    state: str
    reason: str = ""
    seconds: float = 0.0


def failure(said: str) -> str:
    """The error of a build in one line: which script failed and the last thing that it said."""
    lines = [line.strip() for line in said.splitlines()]
    error = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), "no error was told")
    spoken = [line.removeprefix("| ") for line in lines if line.startswith("| ") and "dib-ctr:" not in line]
    telling = [line for line in spoken if re.match(r"(E:|.*(error|Error|cannot|No such|not found|denied))", line)]
    last = (telling or spoken or [""])[-1]
    return f"{error}: {last}" if last else error


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def markdown(rows: Sequence[Row], results: Mapping[str, Result], release: str, when: str) -> str:
    """The document: how many of each, and one line per element; ``when`` is the day of the builds."""
    found = [results.get(row.name) or Result(row.name, CANNOT if row.cannot else OPEN, row.cannot) for row in rows]
    counted = Counter(each.state for each in found)
    lines = [
        "# Upstream's elements",
        "",
        "Every element of diskimage-builder 3.43.0, unmodified, on its own `debian-minimal`",
        f"(`DIB_RELEASE={release}`, `DIB_PYTHON_VERSION=3`) through `dib-ctr build`: alone, or with what its README",
        f"asks for. `just compat --write` made this table on {when}.",
        "",
        ", ".join(
            f"{counted[state]} {state}" for state in (BUILDS, SAME, DIFFERS, FAILS, OPEN, CANNOT) if counted[state]
        )
        + f"; {len(rows)} in all.",
        "",
        "*builds, as DIB's*: the tree was compared with the one that diskimage-builder makes as root on the same",
        "mirror. Packages, files, types, modes, owners, links and contents are the same, but for the differences",
        "written in `tests/compat/expected.yaml`. `tests/integration/test_upstream_elements.py` does so for ten",
        "elements in one build (`just test-all`).",
        "",
        "*cannot*: what Debian's repositories and an index of Python packages do not have; its kind is in brackets.",
        "Seconds are those of one build, the stages of `debian-minimal` in the cache; where it was the first to need a",
        "stage, it ran that.",
        "",
        *listed(rows, found),
    ]
    return "\n".join(lines) + "\n"


def listed(rows: Sequence[Row], found: Sequence[Result]) -> list[str]:
    """The lines of the table of these rows and what became of each."""
    lines = ["| element | built with | | seconds | |", "| --- | --- | --- | ---: | --- |"]
    for row, each in zip(rows, found, strict=True):
        beside = " ".join((*row.beside, *(f"-p {name}" for name in row.packages), *row.variables))
        reason = f"{row.cannot} ({row.kind})" if row.cannot else "; ".join(filter(None, (each.reason, row.note)))
        seconds = f"{each.seconds:.0f}" if each.seconds else ""
        lines.append(f"| {row.name} | {beside} | {each.state} | {seconds} | {_cell(reason)} |")
    return lines


def work_list(results: Iterable[Result]) -> str:
    """What fails, by the reason, those that stop most elements first."""
    reasons: dict[str, list[str]] = {}
    for each in results:
        if each.state in (FAILS, DIFFERS):
            reasons.setdefault(each.reason, []).append(each.name)
    ordered = sorted(reasons.items(), key=lambda item: -len(item[1]))
    return "\n".join(f"{len(names)}: {reason}\n   {' '.join(names)}" for reason, names in ordered)
