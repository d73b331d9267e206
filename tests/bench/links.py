"""What looking after hard links adds to a stage that touches none of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.bench.figures import Bench, Figure

GROUPS, FOLDERS, CHANGED = 2000, 400, 100
# In a process of its own, which is root of a user namespace: overlays are mounted there.
MEASURE = """
import json, os, sys, time
from pathlib import Path
from stages.layers import overlay
from stages.layers.hard_links import run_and_join
from stages.layers.store import Record, Store
from tests.bench.links import change, fill
root, linked = Path(sys.argv[1]), sys.argv[2] == "linked"
store = Store(root)
with store.workplace() as place:
    fill(place.upper / "tree", linked=linked)
    record = store.keep(place, Record("k", "", (), (), {}, "", 1.0, 0.1, 0, ""), "p")
seconds = []
for number in range(int(sys.argv[3])):
    with store.workplace() as place:
        def run():
            begun = time.monotonic()
            with overlay.mounted(store, record.chain(), root / "merged", place.upper, place.path / "work") as merged:
                change(merged / "tree")
            its.append(time.monotonic() - begun)
            return 0
        its = []
        started = time.monotonic()
        run_and_join(store, record.chain(), place, run, lambda _: None)
        seconds.append(time.monotonic() - started - its[0])
print(json.dumps(seconds[1:]))
"""


def fill(tree: Path, *, linked: bool) -> None:
    """A tree of 2,000 pairs of names, as compiled modules of Python are in RPM's distributions, or of as many files."""
    for number in range(GROUPS):
        folder = tree / "usr/lib" / str(number % FOLDERS) / "__pycache__"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.pyc").write_text(str(number))
        if linked:
            os.link(folder / f"{number}.pyc", folder / f"{number}.opt-1.pyc")
        else:
            (folder / f"{number}.opt-1.pyc").write_text(str(number))


def change(tree: Path) -> None:
    """What a stage does: some new files, one of them in each of many folders."""
    for number in range(CHANGED):
        (tree / "usr/lib" / str(number) / f"new-{number}").write_text("new")


def links(bench: Bench) -> list[Figure]:
    """A stage on a tree with many hard links, beside the same one on a tree without."""
    medians = {}
    for kind in ("linked", "plain"):
        folder = bench.folder / f"links-{kind}"
        folder.mkdir()
        argv = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c", MEASURE]
        done = subprocess.run([*argv, str(folder), kind, "21"], check=True, stdout=subprocess.PIPE, text=True)
        seconds = sorted(json.loads(done.stdout))
        medians[kind] = seconds[len(seconds) // 2]
    linked, plain = medians["linked"], medians["plain"]
    return [
        Figure("hard links, 2,000 below a stage that touches none", linked, "the same without any", plain, 0.005, 20)
    ]
