"""Build every element of upstream's that Debian repositories can exercise, through dib-ctr, and say what becomes of it.

``python -m tests.compat [--only NAMES] [--jobs 2] [--engine podman|host] [--compare] [--json FILE] [--write]``.
Builds share one store, so that the stages of debian-minimal run once. ``--compare`` also builds the rows marked
``compare`` with diskimage-builder itself (as root, after ``tests/compat/setup``) and compares the two trees.
The exit status is 1 where something fails or differs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from stages import aptsources
from tests import upstream
from tests.compat import compare, dib
from tests.compat.results import BUILDS, CANNOT, DIFFERS, FAILS, SAME, Result, failure, markdown, work_list
from tests.compat.table import Row, rows

DOCUMENT = Path(__file__).parents[2] / "docs/upstream-elements.md"
TOGETHER = "together"  # the name of a build of many rows
LIMIT = 1800  # seconds for one build


@dataclass(frozen=True)
class Run:
    """How the builds are run: the engine, where the store and the outputs are, and whether DIB's own are made too."""

    engine: str
    folder: Path
    compare: bool

    def arguments(self, row: Row) -> list[str]:
        """The command line that builds a row."""
        store = ["--store", str(self.folder / "store")] if self.engine == "host" else []
        packages = [word for name in row.packages for word in ("-p", name)]
        elements = [name for name in row.elements if name != TOGETHER]
        return [
            *(sys.executable, "-m", "builder.cli", "build", "--engine", self.engine, *store),
            *("--elements-path", str(upstream.elements()), "--progress", "plain", "--name", row.name),
            *("-o", row.output, "--dest", str(self.folder / "out"), *packages, *elements),
        ]

    def environment(self, row: Row) -> dict[str, str]:
        """The variables that both builders get for a row."""
        return {**dib.variables(), **row.given(self.folder / "sources.list")}

    def build(self, row: Row) -> Result:
        """Build one row, and compare it where that is asked for."""
        output = self.folder / "out" / f"{row.name}.{row.output}"
        started = time.monotonic()
        try:
            done = subprocess.run(
                self.arguments(row),
                env={**os.environ, **self.environment(row)},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=LIMIT,
            )
        except subprocess.TimeoutExpired:
            return Result(row.name, FAILS, f"not done after {LIMIT} s", float(LIMIT))
        seconds = time.monotonic() - started
        try:
            if done.returncode != 0:
                (self.folder / "logs").mkdir(exist_ok=True)
                (self.folder / "logs" / row.name).write_text(done.stdout + done.stderr)
                return Result(row.name, FAILS, failure(done.stdout + done.stderr), seconds)
            if self.compare and row.compare:
                return self._compared(row, output, seconds)
            return Result(row.name, BUILDS, "", seconds)
        finally:
            output.unlink(missing_ok=True)

    def _compared(self, row: Row, output: Path, seconds: float) -> Result:
        theirs = self.folder / "references" / f"{row.name}.tar"
        try:
            dib.reference(
                [name for name in row.elements if name != TOGETHER], self.environment(row), theirs, row.packages
            )
        except dib.DibError as error:
            return Result(row.name, DIFFERS, f"DIB itself fails: {str(error).splitlines()[-1]}", seconds)
        found = compare.differences(compare.read(output), compare.read(theirs))
        report = compare.judge(found, compare.expectations(compare.EXPECTED.read_text()))
        (self.folder / "differences").mkdir(exist_ok=True)
        (self.folder / "differences" / row.name).write_text(compare.text(report, most=1000))
        if report.same:
            return Result(row.name, SAME, "", seconds)
        kinds = sorted({each.kind for each in report.unexpected})
        return Result(row.name, DIFFERS, f"{len(report.unexpected)} differences ({', '.join(kinds)})", seconds)


def together(table: Sequence[Row]) -> Row:
    """One row that has all elements, variables and packages of these."""
    return Row(
        TOGETHER,
        tuple(dict.fromkeys(name for row in table for name in (row.name, *row.beside))),
        {name: value for row in table for name, value in row.variables.items()},
        tuple(dict.fromkeys(name for row in table for name in row.packages)),
        compare=all(row.compare for row in table),
    )


def chosen(only: Sequence[str]) -> list[Row]:
    """The rows that are asked for; SystemExit naming a name that is none."""
    table = rows()
    wanted = [name for word in only for name in word.split(",")]
    unknown = set(wanted) - {row.name for row in table}
    if unknown:
        message = f"no element of upstream's: {', '.join(sorted(unknown))}"
        raise SystemExit(message)
    return [row for row in table if not wanted or row.name in wanted]


def prepare(run: Run) -> None:
    """Make the folders, and the sources.list that elements are given."""
    for each in ("out", "store", "references"):
        (run.folder / each).mkdir(parents=True, exist_ok=True)
    run.folder.chmod(0o755)
    (run.folder / "sources.list").write_text(aptsources.debian_mirror().sources(dib.RELEASE) + "\n")


def main() -> int:
    """Build what the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", default=[], metavar="NAMES")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--engine", choices=("podman", "host"), default="host")
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--json", type=Path, help="write the results here; those of earlier runs in it are kept")
    parser.add_argument("--write", action="store_true", help=f"write {DOCUMENT.name}")
    parser.add_argument("--known", action="store_true", help="build nothing: write what the JSON file has")
    parser.add_argument("--together", action="store_true", help="all that write a tar in one build: quicker, coarser")
    options = parser.parse_args()
    run = Run(options.engine, dib.ROOT, options.compare)
    prepare(run)
    kept: dict[str, Result] = {}
    lock = threading.Lock()
    if options.json and options.json.exists():
        kept = {name: Result(**entry) for name, entry in json.loads(options.json.read_text()).items()}

    def keep(result: Result) -> None:
        kept[result.name] = result
        if options.json:
            options.json.write_text(json.dumps({name: asdict(each) for name, each in [*kept.items()]}, indent=1))

    def one(row: Row) -> Result:
        result = Result(row.name, CANNOT, row.cannot) if row.cannot else run.build(row)
        print(f"{result.name}: {result.state} {result.seconds:.0f} s {result.reason}".rstrip(), flush=True)
        with lock:
            keep(result)
        return result

    table = [] if options.known else chosen(options.only)
    if options.together:
        at_once = [row for row in table if row.system and row.output == "tar" and not row.cannot]
        whole = run.build(together(at_once))
        reason = whole.reason or f"in one build with {len(at_once) - 1} others"
        for row in at_once:
            keep(Result(row.name, whole.state, reason))
        print(f"{len(at_once)} elements together: {whole.state} {whole.seconds:.0f} s {whole.reason}".rstrip())
        table = [row for row in table if row not in at_once]
    # The system alone goes first: the others find its stages in the store.
    first = [row for row in table if not row.system and not row.cannot]
    results = [one(row) for row in first]
    with ThreadPoolExecutor(max_workers=options.jobs) as pool:
        results += pool.map(one, [row for row in table if row not in first])
    if options.write:
        DOCUMENT.write_text(markdown(rows(), kept, dib.RELEASE))
    tried = [kept[row.name] for row in chosen(options.only) if row.name in kept]
    print(work_list(tried))
    return 1 if any(each.state in (FAILS, DIFFERS) for each in tried) else 0


if __name__ == "__main__":
    sys.exit(main())
