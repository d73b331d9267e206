"""Build every element of upstream's that Debian repositories can exercise, through dib-ctr, and say what becomes of it.

``python -m tests.compat [--only NAMES] [--jobs 2] [--engine podman|host] [--compare] [--json FILE] [--write]``.
Builds share one store, so that the stages of debian-minimal run once. ``--compare`` also builds the rows marked
``compare`` with diskimage-builder itself (as root, after ``tests/compat/setup``) and compares the two trees.
The exit status is 1 where something fails or differs.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import date
from pathlib import Path

from tests.compat import dib
from tests.compat.results import CANNOT, DIFFERS, FAILS, Result, markdown, work_list
from tests.compat.runs import Run, prepare, together
from tests.compat.table import Row, rows
from tests.docs.generated import with_next

DOCUMENT = Path(__file__).parents[2] / "docs/upstream-elements.md"


def chosen(only: Sequence[str]) -> list[Row]:
    """The rows that are asked for; SystemExit naming a name that is none."""
    table = rows()
    wanted = [name for word in only for name in word.split(",")]
    unknown = set(wanted) - {row.name for row in table}
    if unknown:
        message = f"no element of upstream's: {', '.join(sorted(unknown))}"
        raise SystemExit(message)
    return [row for row in table if not wanted or row.name in wanted]


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
        page = markdown(rows(), kept, dib.RELEASE, f"{date.today():%-d %B %Y}")
        DOCUMENT.write_text(with_next(DOCUMENT.name, page), encoding="utf-8")
    tried = [kept[row.name] for row in chosen(options.only) if row.name in kept]
    print(work_list(tried))
    return 1 if any(each.state in (FAILS, DIFFERS) for each in tried) else 0


if __name__ == "__main__":
    sys.exit(main())
