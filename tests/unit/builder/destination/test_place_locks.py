"""Two builds of one output: the second says that it waits, and goes on when the first has ended, however that ends."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[4]
# Holds places, says so, and waits for its input to end; what it waits for goes to standard error.
_HOLD = """
import sys
from pathlib import Path
from builder.destination import place_locks
with place_locks.held([Path(word) for word in sys.argv[1:]], lambda text: print(text, file=sys.stderr, flush=True)):
    print("held", flush=True)
    sys.stdin.read()
"""


class Holder:
    """A process that holds places."""

    def __init__(self, cache: Path, *places: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _HOLD, *places],
            env={"XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(CHECKOUT), "PATH": "/usr/bin:/bin"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_until_held(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "held\n"

    def wait_until_told(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def end(self, *, kill: bool = False) -> str:
        """What it has said on standard error until its end."""
        if kill:
            self.process.kill()
        return self.process.communicate(timeout=30)[1]


@pytest.mark.parametrize("kill", [False, True])
def test_the_second_build_of_a_place_waits(tmp_path: Path, kill: bool) -> None:
    first = Holder(tmp_path, "/out/a.oci", "/out/b.tar")
    first.wait_until_held()
    second = Holder(tmp_path, "/out/b.tar")
    assert second.wait_until_told() == "another build writes /out/b.tar: waiting for it to end\n"
    time.sleep(0.2)
    assert second.process.poll() is None
    first.end(kill=kill)
    second.wait_until_held()
    second.end()


def test_builds_of_other_places_do_not_wait(tmp_path: Path) -> None:
    holders = [Holder(tmp_path, f"/out/{name}.oci") for name in ("a", "b", "c")]
    for holder in holders:
        holder.wait_until_held()
    assert [holder.end() for holder in holders] == ["", "", ""]


def test_builds_of_the_same_places_in_another_order_both_end(tmp_path: Path) -> None:
    for _ in range(3):
        first, second = Holder(tmp_path, "/a", "/b", "/c"), Holder(tmp_path, "/c", "/b", "/a")
        for holder in (first, second):  # either may be the one that waits
            assert holder.process.stdin is not None
            holder.process.stdin.close()
            holder.process.stdin = None
        said = first.end() + second.end()
        assert first.process.returncode == second.process.returncode == 0
        assert said in ("", "another build writes /a: waiting for it to end\n")


def test_without_a_folder_for_locks_nobody_waits(tmp_path: Path) -> None:
    (tmp_path / "dib-ctr").touch()  # a file in the place of the folder
    holders = [Holder(tmp_path, "/out/a.oci") for _ in range(2)]
    for holder in holders:
        holder.wait_until_held()
    assert [holder.end() for holder in holders] == ["", ""]
