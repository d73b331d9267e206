"""Many builds at once: when each may begin, what is tried again, what is shown and reported."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import junitparser
import pytest
from rich.console import Console

from builder.fleet import report, shared_stages
from builder.fleet.image import ImageBuild, Needs
from builder.fleet.outcome import BUILT, FAILED, Outcome
from builder.fleet.run import RunOptions, command_of
from builder.fleet.schedule import Limits, Schedule, is_network
from builder.fleet.view import Live, Prefixed, summary
from builder.progress.host_events import LogFile, Placed
from builder.request.options import BuildOptions, EngineOptions, PushOptions
from stages.protocol import events


def image(name: str, cpus: int = 1, memory: int = 1024) -> ImageBuild:
    return ImageBuild(name, name, f"images.yaml:1:{len(name)}", needs=Needs(cpus, memory))


# -- the schedule ------------------------------------------------------------------------------------


def begun(schedule: Schedule, now: float = 0.0) -> list[str]:
    found = []
    while (one := schedule.next(now)) is not None:
        found.append(one.name)
    return found


def test_processors_and_memory_bound_what_runs() -> None:
    schedule = Schedule(Limits(cpus=3, memory=4096))
    schedule.add([image("a"), image("large", memory=3500), image("wide", cpus=2), image("b")])
    assert begun(schedule) == ["a", "wide"]  # large has too little memory, b no processor
    schedule.end("wide")
    assert begun(schedule) == ["b"]
    schedule.end("a")
    assert begun(schedule) == []
    schedule.end("b")
    assert begun(schedule) == ["large"]


def test_what_needs_more_than_there_is_runs_alone() -> None:
    schedule = Schedule(Limits(cpus=1, memory=1024))
    schedule.add([image("huge", cpus=8, memory=1 << 20), image("a")])
    assert begun(schedule) == ["huge"]


def test_a_build_that_waits_for_another_ones_stage_leaves_its_place() -> None:
    schedule = Schedule(Limits(cpus=1, memory=1 << 20))
    schedule.add([image(name) for name in "abcde"])
    assert begun(schedule) == ["a"]
    schedule.heed("a", events.Wait(number=1))
    assert begun(schedule) == ["b"]
    for name in ("b", "c"):
        schedule.heed(name, events.Wait(number=1))
        begun(schedule)
    assert sorted(schedule.running) == ["a", "b", "c"]  # three times as many as may run, not more
    for name in ("a", "b", "c"):
        schedule.heed(name, events.Hit(number=1))
        schedule.end(name)
    assert begun(schedule) == ["d"]


def test_another_try_waits_for_its_time() -> None:
    schedule = Schedule(Limits(cpus=2, memory=1 << 20))
    schedule.add([image("other", cpus=2)])
    schedule.put_back(image("again"), not_before=10.0)
    assert begun(schedule, now=4.0) == ["other"]
    schedule.end("other")
    assert schedule.pause(4.0) == 6.0
    assert begun(schedule, now=10.0) == ["again"]
    assert schedule.pause(10.0) is None


@pytest.mark.parametrize(
    "text",
    [
        "E: Failed to fetch http://mirror.invalid/x  Connection timed out",
        "W: Temporary failure resolving 'mirror.invalid'",
        "curl: (6) Could not resolve host: mirror.invalid",
        "curl: (22) The requested URL returned error: 503",
        "fatal: unable to access 'https://h/': Could not resolve host: h",
        "Err:1 http://mirror.invalid trixie InRelease\n  500  Internal Server Error: http status",
        "Cannot download Packages/a.rpm: All mirrors were tried; Connection reset by peer",
        "the repositories keep moving while the build takes from them",
        "Hash Sum mismatch",
    ],
)
def test_failures_of_the_network_are_known(text: str) -> None:
    assert is_network(text)


@pytest.mark.parametrize("text", ["line 3: x: command not found", "E: Unable to locate package jqq", "made 503 files"])
def test_other_failures_are_not_taken_for_it(text: str) -> None:
    assert not is_network(text)


# -- command lines -----------------------------------------------------------------------------------


def test_options_of_pushes_go_to_images_that_are_pushed() -> None:
    push = PushOptions(insecure=True, authfile=Path("f"), sign=True)
    way = RunOptions(Limits(1, 1), EngineOptions("host"), push, Path("/logs"))
    plain = replace(image("a"), options=BuildOptions(("vm",), name="a"))
    words = command_of(plain, way, 1)[5:]
    assert words == [
        *("--engine", "host", "--name", "a", "--progress", "plain", "--log", "/logs/a.log", "--", "vm"),
    ]
    pushed = replace(plain, options=replace(plain.options, push=PushOptions("r/a")))
    assert " ".join(command_of(pushed, way, 2)[5:]) == (
        "--engine host --name a --progress plain --log /logs/a.2.log --insecure --authfile f --sign --push r/a -- vm"
    )


# -- what became of them -----------------------------------------------------------------------------


def stage(number: int, key: str, *, hit: bool = False) -> events.PlannedStage:
    return events.PlannedStage(
        number=number, phase="install", element="e", script=f"{number}-x", where="inside", key=key, hit=hit, why=""
    )


def built(name: str, *keys: str, hits: int = 0) -> Outcome:
    outcome = Outcome(image(name))
    outcome.begin()
    for event in (
        LogFile(path=f"/logs/{name}.log"),
        events.Plan(stages=[stage(at, key) for at, key in enumerate(keys, 1)]),
    ):
        outcome.heed(event)
    for at in range(1, len(keys) + 1):
        outcome.heed(events.Hit(number=at) if at <= hits else events.Done(number=at, seconds=1.0, bytes=1))
    outcome.heed(events.Output(index=0, output="oci", key="", path="", digest="sha256:aa", bytes=7, changed=True))
    outcome.heed(Placed(place=f"/out/{name}.oci"))
    outcome.status, outcome.started, outcome.seconds = BUILT, 1.7e9, 2.5
    return outcome


def failed(name: str) -> Outcome:
    outcome = Outcome(image(name))
    outcome.begin()
    outcome.heed(events.Plan(stages=[stage(1, "k")]))
    for line in ("some line", "error: the stage failed", "  | \x1b[31mred\x00 <&>"):
        outcome.lines.append(line)
    outcome.heed(
        events.Failed(number=1, status=3, tail=["Connection timed out"], phase="install", element="e", script="1-x")
    )
    outcome.status, outcome.started, outcome.seconds = FAILED, 1.7e9, 1.0
    return outcome


OUTCOMES = [built("one", "k1", "k2"), built("two", "k1", "k3", hits=1), failed("bad"), Outcome(image("never"))]


def test_the_json_report_counts_stages_and_names_outputs() -> None:
    found = json.loads(json.dumps(report.as_json(OUTCOMES, 3.0)))
    assert (found["built"], found["failed"], found["stages_run"], found["stages_from_cache"]) == (2, 1, 3, 1)
    one, two, bad, never = found["images"]
    assert (one["hits"], one["misses"], two["hits"], two["misses"]) == (0, 2, 1, 1)
    made = {"place": "/out/one.oci", "type": "oci", "digest": "sha256:aa", "bytes": 7, "changed": True}
    assert one["outputs"] == [made]
    assert one["log"] == "/logs/one.log"
    assert bad["failure"]["text"].startswith("error: the stage failed")
    assert (bad["failure"]["stage"], bad["failure"]["status"]) == ("install/e/1-x", 3)
    assert (never["status"], never["attempts"], never["started"]) == ("skipped", 0, None)


def test_the_junit_report_is_what_its_readers_read(tmp_path: Path) -> None:
    (tmp_path / "junit.xml").write_bytes(report.as_junit(OUTCOMES, 3.0))
    (suite,) = junitparser.JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (4, 1, 0, 1)
    one, _, bad, never = list(suite)
    assert (one.name, one.time, one.is_passed) == ("one", 2.5, True)
    assert one.system_out == "log: /logs/one.log"
    properties: Any = one.child  # without type information
    values = {each.name: each.value for each in properties(junitparser.Properties)}
    assert values["digest /out/one.oci"] == "sha256:aa"
    (failure,) = bad.result
    assert isinstance(failure, junitparser.Failure)
    assert (failure.message, failure.type) == ("error: the stage failed", "install/e/1-x")
    assert "red� <&>" in failure.text
    assert never.is_skipped


def test_a_failure_tells_what_kind_it_was() -> None:
    assert is_network(OUTCOMES[2].all_text())
    outcome = failed("again")
    outcome.begin()
    assert (outcome.attempts, outcome.failure, list(outcome.lines), outcome.misses) == (2, None, [], 0)


# -- views -------------------------------------------------------------------------------------------


def test_lines_have_the_name_of_their_image() -> None:
    out = io.StringIO()
    view = Prefixed(out)
    view.line(OUTCOMES[0], "said")
    view.end(OUTCOMES[1], None)
    view.end(OUTCOMES[2], 10.0)
    assert out.getvalue().splitlines() == [
        "one: said",
        "two: built, 2 stages, 1 from the cache, in 2.5 s",
        "bad: failed in 1.0 s, tried again in 10 s",
    ]
    assert summary(OUTCOMES, 3.0) == "4 images: 2 built, 1 failed, 1 skipped; 3 stages ran, 1 from the cache, in 3.0 s"


def test_the_live_view_shows_what_runs_and_what_is_done() -> None:
    out = io.StringIO()
    view = Live(2, Console(file=out, width=70, force_terminal=False))
    running = Outcome(image("runs"))
    running.begin()
    view.begin(running)
    for event in (
        events.Plan(stages=[stage(1, "k")]),
        events.Start(number=1),
        events.Log(number=1, text="the last line"),
    ):
        running.heed(event)
        view.event(running, event)
    view.end(OUTCOMES[0], None)
    console = Console(file=io.StringIO(), width=70, record=True)
    console.print(view.render())
    view.close()
    assert [line.split("  0 s")[0].rstrip() for line in console.export_text().splitlines()] == [
        "runs  [1/1] install/e/1-x",
        "  the last line",
        "1 of 2 images done, 1 run",
    ]
    assert "one  built, 2 stages, 0 from the cache" in out.getvalue()
    assert "/out/one.oci sha256:aa" in out.getvalue()


# -- the graph ---------------------------------------------------------------------------------------

PLANS = {
    "a": [stage(1, "k1", hit=True), stage(2, "k2"), stage(3, "k3")],
    "b": [stage(1, "k1", hit=True), stage(2, "k2"), stage(3, "k4")],
    "c": [stage(1, "k1", hit=True)],
    "d": [stage(1, "k9")],
}


def test_the_graph_has_every_stage_once() -> None:
    trunk, other = shared_stages.branches(PLANS)
    assert (trunk.images, [one.key for one in trunk.stages]) == (["a", "b", "c"], ["k1"])
    (fork,) = trunk.above
    assert (fork.images, [one.key for one in fork.stages]) == (["a", "b"], ["k2"])
    assert [(one.images, [each.key for each in one.stages]) for one in fork.above] == [
        (["a"], ["k3"]),
        (["b"], ["k4"]),
    ]
    assert other.images == ["d"]
    assert shared_stages.counts(PLANS) == (8, 5, 4)
    text = shared_stages.as_text(PLANS, whole=False).splitlines()
    assert text[1] == "  a, b: 1 stage, 1 to run  install/e/2-x"
    assert text[-1] == "4 images, 8 stages, 5 different ones: 3 are shared, 4 to run"
    found = shared_stages.as_json(PLANS)
    assert found["stages"]["k2"]["images"] == ["a", "b"]
    assert found["stages"]["k3"]["below"] == "k2"
    assert found["images"]["c"] == ["k1"]
