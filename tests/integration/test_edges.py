"""Edges of a content delivery network that are out of step: apt is given another state than the plan and the check.

Real apt, from the small archive of ``aptmirror``; a server in front of it tells its callers apart.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.integration import aptmirror
from tests.integration.command import ELEMENTS, Command, Outcome
from tests.mirrors.serve import running

OWN = "dib-ctr"  # how the build's own questions are signed


@dataclass
class Edges:
    """An archive in the state ``old`` for the build's own questions, and in ``new`` for apt, ``behind`` times.

    -1: always; 0 is a network whose edges are in step.
    """

    old: Path
    new: Path
    behind: int = -1
    served: list[str] = field(default_factory=list)
    address: str = ""
    _new_now: bool = False

    def file(self, path: str, agent: str) -> Path:
        """The file that a caller is given; apt's lists are of the state of the index before them."""
        if path.endswith("/InRelease") and not agent.startswith(OWN):
            self._new_now = self.behind != 0
            self.behind -= self.behind > 0
            self.served.append("new" if self._new_now else "old")
        state = self.new if self._new_now and not agent.startswith(OWN) else self.old
        return state / path.lstrip("/")


@contextlib.contextmanager
def serving(edges: Edges) -> Iterator[Edges]:
    """The edges, served as long as this is held."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            file = edges.file(self.path, self.headers.get("User-Agent", ""))
            data = file.read_bytes() if file.is_file() else b""
            self.send_response(200 if file.is_file() else 404)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with running(Handler) as edges.address:
        yield edges


@pytest.fixture
def edges(place: Path) -> Iterator[Edges]:
    if not Path("/usr/lib/apt/methods/http").exists():
        pytest.skip("there is no apt")
    with aptmirror.serving(place) as mirror:
        shutil.copytree(mirror.folder, place / "old")
        mirror.package("extra", "2.0")
        mirror.publish("Sun, 13 Sep 2026 07:55:41 UTC")
        with serving(Edges(place / "old", mirror.folder)) as served:
            mirror.write_system(place / "elements")
            snippet = place / "elements/small-debian/environment.d/10-small-debian.bash"
            snippet.write_text(snippet.read_text().replace(mirror.root, served.address))
            yield served


def build(place: Path, status: int = 0) -> Outcome:
    command = Command("host", place / "store", place / "out", (place / "elements", ELEMENTS))
    outcome = command("build", "-o", "dir,slim=no", "-p", "extra", "small-debian")
    assert outcome.status == status, f"{outcome.stdout}\n{outcome.stderr}"
    return outcome


def version(place: Path) -> str:
    (tree,) = (place / "out").glob("*.dir")
    return (tree / "usr/share/extra").read_text().strip()


def test_what_apt_took_from_another_edge_is_not_kept(edges: Edges, place: Path) -> None:
    """The plan and the check at the end see one state, apt another: its package would be under the wrong key."""
    failed = build(place, status=1)
    assert "the repositories keep moving" in failed.stderr
    assert edges.served == ["new"] * 3
    edges.behind = 0
    build(place)
    assert version(place) == "1.0"


def test_an_edge_that_catches_up_is_waited_for(edges: Edges, place: Path) -> None:
    edges.behind = 1
    outcome = build(place)
    assert [event for event in outcome.events if event["type"] == "note" and "moved during the build" in event["text"]]
    assert version(place) == "1.0"
    assert edges.served == ["new", "old"]


@pytest.mark.thorough("nothing to find, where the one above finds it")
def test_edges_in_step_are_asked_once(edges: Edges, place: Path) -> None:
    edges.behind = 0
    build(place)
    assert edges.served == ["old"]
    assert build(place).titles("start") == []
