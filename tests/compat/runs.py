"""One row of the table, built through dib-ctr, and its tree compared with the one that diskimage-builder makes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stages.repositories import apt_sources
from tests import upstream
from tests.compat import compare, dib, index
from tests.compat.results import BUILDS, DIFFERS, FAILS, SAME, Result, failure
from tests.compat.table import Row

TOGETHER = "together"  # the name of a build of many rows
LIMIT = 1800  # seconds for one build


@dataclass(frozen=True)
class Run:
    """How the builds are run: the engine, where the store and the outputs are, and whether DIB's own are made too."""

    engine: str
    folder: Path
    compare: bool

    def arguments(self, row: Row, given: Mapping[str, str]) -> list[str]:
        """The command line that builds a row with these variables; all but ``DIB_*`` are options."""
        store = ["--store", str(self.folder / "store")] if self.engine == "host" else []
        packages = [word for name in row.packages for word in ("-p", name)]
        others = {name: value for name, value in given.items() if not name.startswith("DIB_")}
        settings = [word for name, value in others.items() for word in ("--set", f"{name}={value}")]
        elements = [name for name in row.elements if name != TOGETHER]
        return [
            *(sys.executable, "-m", "builder.cli", "build", "--engine", self.engine, *store),
            *("--elements-path", str(upstream.elements()), "--progress", "plain", "--name", row.name),
            *("-o", row.output, "--dest", str(self.folder / "out"), *packages, *settings, *elements),
        ]

    @contextmanager
    def environment(self, row: Row) -> Iterator[dict[str, str]]:
        """The variables that both builders get for a row; its index of Python packages is served meanwhile."""
        sources = self.folder / "sources.list"
        if not row.index:
            yield {**dib.variables(), **row.given(sources)}
            return
        packages = self.folder / "index" / row.name
        if not (packages / "simple").exists():
            index.fetch(row.index, packages)
        with index.served(packages) as address:
            yield {**dib.variables(), **row.given(sources, address)}

    def output(self, row: Row) -> Path:
        """The file that a build of a row writes."""
        return self.folder / "out" / f"{row.name}.{row.output}"

    def reference(self, row: Row) -> Path:
        """The tar that diskimage-builder makes of a row."""
        return self.folder / "references" / f"{row.name}.tar"

    def build(self, row: Row) -> Result:
        """Build one row, and compare it where that is asked for; no output is left."""
        try:
            result = self.made(row)
            if result.state != BUILDS or not self.compare or not row.compare:
                return result
            try:
                self.made_by_dib(row)
            except dib.DibError as error:
                last = str(error).splitlines()[-1]
                return Result(row.name, DIFFERS, f"DIB itself fails: {last}", result.seconds)
            return self.compared(row, result.seconds)
        finally:
            self.output(row).unlink(missing_ok=True)

    def made(self, row: Row) -> Result:
        """Build one row into its output."""
        started = time.monotonic()
        try:
            with self.environment(row) as given:
                done = subprocess.run(
                    self.arguments(row, given),
                    env={**os.environ, **given},
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    check=False,
                    timeout=LIMIT,
                )
        except index.FetchError as error:
            return Result(row.name, FAILS, f"its Python packages: {str(error).splitlines()[-1]}")
        except subprocess.TimeoutExpired:
            return Result(row.name, FAILS, f"not done after {LIMIT} s", float(LIMIT))
        seconds = time.monotonic() - started
        if done.returncode == 0:
            return Result(row.name, BUILDS, "", seconds)
        (self.folder / "logs").mkdir(exist_ok=True)
        (self.folder / "logs" / row.name).write_text(done.stdout + done.stderr)
        return Result(row.name, FAILS, failure(done.stdout + done.stderr), seconds)

    def made_by_dib(self, row: Row) -> None:
        """Build one row with diskimage-builder itself, anew: mirrors move. DibError where it fails."""
        names = [name for name in row.elements if name != TOGETHER]
        with self.environment(row) as given:
            dib.reference(names, given, self.reference(row), row.packages)

    def compared(self, row: Row, seconds: float) -> Result:
        """Compare a row's output with the tar that ``made_by_dib`` left; ``seconds`` are those of our build."""
        found = compare.differences(compare.read(self.output(row)), compare.read(self.reference(row)))
        report = compare.judge(found, compare.expectations(compare.EXPECTED.read_text()))
        (self.folder / "differences").mkdir(exist_ok=True)
        (self.folder / "differences" / row.name).write_text(compare.text(report, most=1000))
        if report.same:
            return Result(row.name, SAME, "", seconds)
        kinds = sorted({each.kind for each in report.unexpected})
        return Result(row.name, DIFFERS, f"{len(report.unexpected)} differences ({', '.join(kinds)})", seconds)


def together(table: Sequence[Row]) -> Row:
    """One row that has all elements, variables and packages of these; what stands last has the last word."""
    return Row(
        TOGETHER,
        tuple(dict.fromkeys(name for row in table for name in (row.name, *row.beside))),
        {name: value for row in table for name, value in row.variables.items()},
        tuple(dict.fromkeys(name for row in table for name in row.packages)),
        compare=all(row.compare for row in table),
        index=tuple(dict.fromkeys(name for row in table for name in row.index)),
    )


def prepare(run: Run) -> None:
    """Make the folders, and the sources.list that elements are given."""
    for each in ("out", "store", "references"):
        (run.folder / each).mkdir(parents=True, exist_ok=True)
    run.folder.chmod(0o755)
    (run.folder / "sources.list").write_text(apt_sources.debian_mirror().sources(dib.RELEASE) + "\n")
