"""Upstream's own elements, unmodified, beside diskimage-builder itself on the same mirror in the same run.

Needs root and what ``tests/compat/setup`` installs. Both write a tar; DIB's image cache and our store are empty in
cold builds, and both fetch each package anew.
"""

from __future__ import annotations

import functools
import itertools
from pathlib import Path

from tests import upstream
from tests.bench.figures import Bench, Figure
from tests.compat import dib
from tests.integration.command import Command, script, write_element

ELEMENTS = ("debian-minimal", "openssh-server", "growroot", "journal-to-console", "devuser", "sysctl", "late")
PEER = "diskimage-builder 3.43.0 -t tar"
COLD, UNCHANGED, LATE = 0.7, 0.01, 0.1  # of DIB's time


def upstream_elements(bench: Bench) -> list[Figure]:
    """debian-minimal and five more, and a script of one's own at the end: cold, unchanged, that script changed."""
    numbers = itertools.count(1)
    own = bench.folder / "elements"

    def change() -> None:
        write_element(own, "late", {"finalise.d/90-late": script(f"echo {next(numbers)} > /etc/late")})

    change()
    variables = {**dib.variables(), "DIB_DEV_USER_AUTHORIZED_KEYS": "/dev/null"}

    def theirs() -> None:
        target = bench.folder / "dib.tar"
        dib.reference(ELEMENTS, variables, target, path=str(own))
        target.unlink()

    command = Command(
        "host", bench.folder / "store-upstream", bench.folder / "out-upstream", (own, Path(upstream.elements()))
    )
    build = functools.partial(command.build, "-o", "tar", *ELEMENTS, variables=variables)

    def changed() -> None:
        change()
        build()

    peer = bench.median(theirs)
    cold = bench.median(build, functools.partial(command, "cache", "prune", "--all"))
    unchanged = bench.median(build)
    late = bench.median(changed)
    timed = (("cold", cold, COLD), ("nothing changed", unchanged, UNCHANGED), ("one late script changed", late, LATE))
    return [
        Figure(f"upstream's debian-minimal and 5 more, {name}", seconds, PEER, peer, share * peer, bench.repeat)
        for name, seconds, share in timed
    ]
