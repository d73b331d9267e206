"""Repositories that move between builds and during one, served by a real HTTP server on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.integration.command import ELEMENTS, Command, script, stage_scripts, write_element


class Mirror:
    """Answers every request for an InRelease; ``moves_after`` says after how many answers it shows another state."""

    def __init__(self) -> None:
        self.state = 1
        self.asked = 0
        self.moves_after: int | None = None
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.asked += 1
                if mirror.moves_after is not None and mirror.asked > mirror.moves_after:
                    mirror.state, mirror.moves_after = mirror.state + 1, None
                data = f"Date: Sat, 12 Sep 2026 07:55:4{mirror.state} UTC\n".encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def variables(self) -> dict[str, str]:
        """What makes a build ask this mirror."""
        return {"DIB_APT_SOURCES_CONF": f"default:deb http://127.0.0.1:{self.server.server_port}/debian trixie main"}


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    made = Mirror()
    yield made
    made.server.shutdown()


@pytest.fixture
def command(place: Path) -> Command:
    own = place / "elements"
    files = {
        **stage_scripts([10, 30]),
        "install.d/20-packages": script(
            "# apt-get would run here: the stage's key holds the repositories' state", "date > /etc/when"
        ),
    }
    write_element(own, "packages", files)
    return Command("host", place / "store", place / "out", (own, ELEMENTS))


def test_a_mirror_that_moved_rebuilds_from_the_first_stage_that_installs_from_it(
    command: Command, mirror: Mirror
) -> None:
    command.build("tiny-os", "packages", variables=mirror.variables)
    again = command.build("tiny-os", "packages", variables=mirror.variables)
    assert again.titles("start") == []
    mirror.state += 1
    # SOURCE_DATE_EPOCH follows the mirror unless it is set, and every stage can read it.
    fixed = {**mirror.variables, "DIB_UNREAD": "1"}
    command.build("--set", "SOURCE_DATE_EPOCH=1", "tiny-os", "packages", variables=fixed)
    mirror.state += 1
    moved = command.build("--set", "SOURCE_DATE_EPOCH=1", "tiny-os", "packages", variables=fixed)
    assert moved.titles("start") == ["20-packages", "30-stage", "seal-tree"]


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_a_mirror_that_moves_during_the_build_is_noticed_and_the_build_starts_again(
    command: Command, mirror: Mirror
) -> None:
    mirror.moves_after = 1
    outcome = command.build("tiny-os", "packages", variables=mirror.variables)
    assert [event for event in outcome.events if event["type"] == "note" and "moved during the build" in event["text"]]
    assert outcome.titles("start").count("20-packages") == 2
    again = command.build("tiny-os", "packages", variables=mirror.variables)
    assert again.titles("start") == [], "what is kept was made from the state that the mirror has now"
    assert again.digest() == outcome.digest()


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_offline_takes_the_state_seen_last(command: Command, mirror: Mirror) -> None:
    command.build("tiny-os", "packages", variables=mirror.variables)
    asked = mirror.asked
    mirror.state += 1
    outcome = command.build("--offline", "tiny-os", "packages", variables=mirror.variables)
    assert outcome.titles("start") == []
    assert mirror.asked == asked
