"""What a person is told of a build: formatting is pure, so it is tested as text."""

from __future__ import annotations

import io
import json
import shlex
from pathlib import Path

import pytest

from blockdev.core.errors import UsageError
from builder.progress.report import (
    KEPT_LOGS,
    Json,
    Live,
    Log,
    Plain,
    closing,
    failure,
    plan_json,
    plan_table,
    reporter,
    size,
    table,
)
from stages.protocol import events
from stages.protocol.events import Event

STAGES = [
    events.PlannedStage(
        number=number,
        phase=phase,
        element="web",
        script=script,
        where="inside",
        key=f"{number}" * 64,
        hit=number == 1,
        why="" if number == 1 else "the script changed",
    )
    for number, phase, script in ((1, "install", "10-server"), (2, "post-install", "20-configure"))
]
PLAN = events.Plan(stages=STAGES)
FAILED = events.Failed(
    number=2, status=7, tail=["one", "two"], phase="post-install", element="web", script="20-configure"
)


class Clock:
    """A clock that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def plain(shown_events: list[Event], *, github: bool = False, clock: Clock | None = None) -> list[str]:
    """What the plain reporter prints, by lines."""
    out = io.StringIO()
    shown = Plain(out=out, github=github, clock=clock or Clock())
    for event in [PLAN, *shown_events]:
        shown.handle(event)
    shown.close()
    return out.getvalue().splitlines()


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (48_100_000, "48.1 MB"), (3 * 10**12, "3000.0 GB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


def test_a_table_is_aligned_and_has_no_spaces_at_line_ends() -> None:
    assert table([["a", "bb", ""], ["ccc", "d", "e"]]) == "a    bb\nccc  d   e"


def test_the_plan_says_why_a_stage_missed() -> None:
    head, first, second = plan_table(STAGES).splitlines()
    assert head.split() == ["#", "phase", "element", "script", "where", "key", "why"]
    assert first.split() == ["1", "install", "web", "10-server", "inside", "1" * 12, "hit"]
    assert second.endswith(f"{'2' * 12}  miss  the script changed")


def test_the_plan_for_machines_has_every_field() -> None:
    first, second = json.loads(plan_json(STAGES))
    assert list(first) == ["number", "phase", "element", "script", "where", "key", "hit", "why"]
    assert second == vars(STAGES[1])


# -- plain


def test_plain_has_a_line_a_stage() -> None:
    assert plain(
        [
            events.Hit(number=1),
            events.Start(number=2),
            events.Log(number=2, text="noise"),
            events.Done(number=2, seconds=1.26, bytes=2048),
            events.End(seconds=1, hits=1, misses=1, tree="t"),
        ]
    ) == [
        "2 stages, 1 in the cache",
        "[1/2] install/web/10-server  cached",
        "[2/2] post-install/web/20-configure  1.3 s, 2.0 kB",
    ]


def test_a_stage_that_takes_long_gives_one_sign_of_life() -> None:
    clock = Clock()
    out = io.StringIO()
    shown = Plain(out=out, github=False, clock=clock)
    shown.handle(PLAN)
    shown.handle(events.Start(number=2))
    for now in (1.0, 11.0, 12.0, 40.0):
        clock.now = now
        shown.handle(events.Log(number=2, text="noise"))
    assert out.getvalue().splitlines()[1:] == ["[2/2] post-install/web/20-configure ..."]


def test_github_folds_each_stages_output() -> None:
    assert plain(
        [
            events.Start(number=1),
            events.Log(number=1, text="hello"),
            events.Done(number=1, seconds=0.2, bytes=0),
            events.Start(number=2),
            FAILED,
        ],
        github=True,
    )[1:] == [
        "::group::[1/2] install/web/10-server",
        "hello",
        "::endgroup::",
        "[1/2] install/web/10-server  0.2 s, 0 B",
        "::group::[2/2] post-install/web/20-configure",
        "::endgroup::",
        "[2/2] post-install/web/20-configure  failed with status 7",
    ]


def test_plain_says_what_it_waits_for_and_passes_notes_on() -> None:
    assert plain([events.Wait(number=2), events.Note(text="a note")])[1:] == [
        "[2/2] post-install/web/20-configure  another build runs it, waiting",
        "a note",
    ]


# -- the other two


def test_json_passes_events_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    Json().handle(PLAN)
    Json().handle(events.Hit(number=1))
    plan, hit = capsys.readouterr().out.splitlines()
    assert hit == '{"type": "hit", "number": 1}'
    assert json.loads(plan) == {"type": "plan", "stages": [vars(stage) for stage in STAGES]}


def test_live_keeps_a_line_of_each_stage_and_leaves_the_terminal_alone_while_paused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    live = Live()
    for event in (
        PLAN,
        events.Hit(number=1),
        events.Start(number=2),
        events.Log(number=2, text="[bold]not markup[/bold]"),
        events.Note(text="a [note]"),
    ):
        live.handle(event)
    with live.paused():
        print("a shell")
    live.handle(events.Done(number=2, seconds=1.0, bytes=5))
    live.close()
    shown = capsys.readouterr().out
    assert "[1/2] install/web/10-server  cached" in shown
    assert "a [note]" in shown
    assert "a shell\n" in shown
    assert "[2/2] post-install/web/20-configure  1.0 s, 5 B" in shown


def test_auto_is_plain_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(reporter("auto"), Plain)
    assert isinstance(reporter("plain"), Plain)
    assert isinstance(reporter("json"), Json)


# -- the end of a build


def test_a_failure_names_stage_status_last_lines_log_and_the_way_in() -> None:
    again = ["dib-ctr", "shell", "--set", "A=b c", "web"]
    text = failure(FAILED, Path("/logs/a.log"), again)
    lines = text.splitlines()
    assert lines[0] == "error: the stage post-install/web/20-configure failed with status 7"
    assert lines[1] == "  phase: post-install, element: web, script: 20-configure"
    assert lines[2:4] == ["  | one", "  | two"]
    assert lines[4].split() == ["log:", "/logs/a.log"]
    command = lines[5].removeprefix("  next:").strip()
    assert shlex.split(command) == [*again, "--at", "post-install/web/20-configure"]
    told = failure(FAILED.replace(why="the mirror http://m: it lies", hint="name another mirror"), Path("/l"), again)
    assert [line for line in told.splitlines() if line not in lines] == [
        "  why:   the mirror http://m: it lies",
        "  log:   /l",
        "  next:  name another mirror",
    ]


def test_the_closing_lines_tell_outputs_stages_hits_and_seconds() -> None:
    end = events.End(seconds=2.04, hits=18, misses=1, tree="t")
    outputs = [
        events.Output(output="oci", bytes=48_100_000, digest="sha256:ab", changed=True, key="", path=""),
        events.Output(output="tar", bytes=999, digest="sha256:cd", changed=False, key="", path=""),
    ]
    assert closing(end, outputs, ["/a.oci", "/a.tar"]).splitlines() == [
        "oci: /a.oci (48.1 MB, sha256:ab)",
        "tar: /a.tar (999 B, sha256:cd, unchanged)",
        "19 stages, 18 from the cache, in 2.0 s",
    ]


# -- the log


def test_the_log_has_every_line_at_once(tmp_path: Path) -> None:
    log = Log.open(tmp_path / "new" / "a.log", "image")
    for event in (
        PLAN,
        events.Start(number=2),
        events.Log(number=2, text="said"),
        events.Error(what="it broke", where="here", hint="", status=1, trace="Traceback"),
    ):
        log.handle(event)
    log.line("engine chatter")
    lines = log.path.read_text().splitlines()
    log.close()
    assert lines[0] == "== start post-install/web/20-configure"
    assert lines[1].endswith(" post-install/web/20-configure said")
    assert lines[2:] == ["it broke", "here", "Traceback", "engine chatter"]


def test_only_the_newest_logs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "dib-ctr" / "logs"
    folder.mkdir(parents=True)
    for number in range(KEPT_LOGS + 5):
        (folder / f"old-{number}.log").touch()
    log = Log.open(None, "image")
    log.close()
    assert log.path.parent == folder
    assert log.path.exists()
    assert len(list(folder.iterdir())) == KEPT_LOGS


def test_a_log_that_cannot_be_made_is_bad_usage(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        Log.open(tmp_path / "file" / "a.log", "image")


def test_a_log_on_a_full_disk_stops_no_build() -> None:
    log = Log.open(Path("/dev/full"), "image")
    log.line("lost")
    log.close()
