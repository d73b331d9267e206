"""Build the matrix and print its table: ``python -m tests.matrix [WORDS] [--jobs N] [--engine NAME] [--json FILE]``.

Words are distributions, releases, architectures and names of rows. ``--own-mirrors`` builds from what the
distributions' own settings say instead of synthetic mirrors, which takes a machine that reaches them. ``--folder``
keeps what the mirrors are made of, and the layers, for the next run. ``--write`` keeps the results beside this module,
and writes the tables into their page.
The exit status is 1 where a row failed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import yaml

from tests.matrix.results import FACTS_BEGIN, FACTS_END, FAILED, FILE, Result, add, distributions, known, placed, table
from tests.matrix.rows import SYNTHETIC, chosen, rows
from tests.matrix.run import Runner
from tests.mirrors.catalogue import served

NAME = "dib-ctr-matrix-"
UNTRIED = Path(__file__).with_name("untried.yaml")
ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs/matrix.md"


def page(text: str) -> str:
    """The page of the matrix with its tables made of the kept results."""
    results = known(FILE)
    untried = yaml.safe_load(UNTRIED.read_text(encoding="utf-8"))
    made = placed(text, table(rows(), results))
    return placed(made, distributions(rows(), results, untried), (FACTS_BEGIN, FACTS_END))


def _commit() -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "--short=7", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def main() -> int:
    """Build what the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--engine", choices=("podman", "docker", "host"), default="host")
    parser.add_argument("--firmware", choices=("bios", "uefi"), default="", help="start disks with this one alone")
    parser.add_argument("--json", type=Path, help="write the results here; those of earlier runs in it are kept")
    parser.add_argument("--folder", type=Path, help="work here, and keep it for the next run [default: a new one]")
    parser.add_argument("--no-disks", action="store_true", help="build the container images alone")
    parser.add_argument("--own-mirrors", action="store_true")
    parser.add_argument("--write", action="store_true", help="keep the results, and write docs/matrix.md")
    parser.add_argument("--known", action="store_true", help="build nothing: show what the JSON file has")
    options = parser.parse_args()
    try:
        wanted = chosen(options.words, rows())
        if options.no_disks:
            wanted = tuple(replace(row, disk=False) for row in wanted)
    except ValueError as error:
        parser.error(str(error))
    kept = known(options.json) if options.json else {}
    day, commit = datetime.now(UTC).date().isoformat(), _commit()
    with contextlib.ExitStack() as held:
        folder = options.folder or Path(held.enter_context(tempfile.TemporaryDirectory(prefix=NAME, dir="/var/tmp")))
        folder = folder.absolute()
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        made_here = () if options.known or options.own_mirrors else wanted
        synthetic = [row.source for row in made_here if row.mirror == SYNTHETIC]
        mirrors = held.enter_context(served(synthetic, folder / "mirrors", options.jobs))
        runner = Runner(folder, options.engine, mirrors.variables, options.firmware)

        def one(name: str) -> None:
            row = next(row for row in wanted if row.name == name)
            reason = mirrors.failures.get(row.source)
            result = Result(name, FAILED, reason=f"no synthetic mirror: {reason}") if reason else runner.row(row)
            result = replace(result, day=day, commit=commit)
            print(f"{name}: {result.image} {result.disk} {result.reason}".rstrip(), file=sys.stderr, flush=True)
            kept[name] = result
            if options.json:
                add(options.json, result)
            if options.write:
                add(FILE, result)

        with ThreadPoolExecutor(max_workers=options.jobs) as pool:
            list(pool.map(one, [] if options.known else [row.name for row in wanted]))
    made = table(rows(), kept)
    print(made)
    if options.write:
        DOCUMENT.write_text(page(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    return 1 if any(kept[row.name].failed for row in wanted if row.name in kept) else 0


if __name__ == "__main__":
    sys.exit(main())
