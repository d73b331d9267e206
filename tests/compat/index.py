"""A folder of Python packages as an index: fetched from pip's own index, served on this machine for one build.

Elements that install from an index have ``PIP_INDEX_URL`` or upstream's element ``pypi`` point at it. Where pip finds
its packages, and with which certificates, is the business of the machine's own pip alone.
"""

from __future__ import annotations

import functools
import http.server
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PYTHON = "3.13"  # the version in the tree: that of Debian 13
_SYSTEMS = ("manylinux2014", "manylinux_2_17", "manylinux_2_28")


class FetchError(Exception):
    """pip could not fetch what an element installs; the text is pip's."""


def project(wheel: str) -> str:
    """The name under which an index lists a wheel's project (PEP 503)."""
    return re.sub(r"[-_.]+", "-", wheel.partition("-")[0]).lower()


def fetch(names: Sequence[str], folder: Path, machine: str = "x86_64") -> None:
    """Fetch the wheels of these projects and of all that they need into ``folder``, a folder per project.

    FetchError with pip's message where one cannot be had.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"]
    systems = [word for name in _SYSTEMS for word in ("--platform", f"{name}_{machine}")]
    work = folder / "work"
    work.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [*command, "--python-version", PYTHON, "--implementation", "cp", *systems, "--dest", str(work), *names],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    if done.returncode != 0:
        raise FetchError(done.stderr.strip())
    for wheel in sorted(work.glob("*.whl")):
        place = folder / "simple" / project(wheel.name)
        place.mkdir(parents=True, exist_ok=True)
        shutil.move(wheel, place / wheel.name)
    work.rmdir()


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Lists folders as links, which is what a simple index is; says nothing."""

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of the index made by ``fetch``, while it is served on the loopback interface."""
    handler = functools.partial(_Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/simple"
        finally:
            server.shutdown()
            thread.join()
