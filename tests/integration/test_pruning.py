"""A store that is cleaned while it is used: builds beside cleanings, what is delivered, builds without cache."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.command import ELEMENTS, Command, Outcome, script, stage_scripts, write_element


@pytest.fixture
def command(place: Path) -> Command:
    folder = place / "elements"
    folder.mkdir()
    return Command("host", place / "store", place / "out", (folder, ELEMENTS))


def records(command: Command) -> dict[str, str]:
    """The layer of each record, by the record's name."""
    return {file.stem: json.loads(file.read_text())["layer"] for file in (command.store / "keys").glob("*.json")}


def held(command: Command) -> list[str]:
    return sorted(path.name for path in (command.store / "outputs").iterdir())


@pytest.mark.thorough("eight builds at once")
def test_eight_builds_at_once_beside_a_loop_of_prunings(command: Command) -> None:
    going, prunings = threading.Event(), list[Outcome]()

    def prune() -> None:
        while not going.is_set():
            prunings.append(command("cache", "prune", "--max-size", "0"))

    loop = threading.Thread(target=prune)
    loop.start()
    builds: list[subprocess.Popen[str]] = []
    try:
        for number in range(8):
            own = replace(command, destination=command.destination / str(number))
            greeting = {"DIB_GREETING": f"day {number % 2}"}
            wanted = ("--no-documents", "-o", "tar", "-o", "oci-archive", "tiny-os", "greeting")
            builds.append(own.start("build", *wanted, variables=greeting))
        said = [build.communicate() for build in builds]
    finally:
        going.set()
        loop.join()
    assert [build.returncode for build in builds] == [0] * 8, [errors for _, errors in said]
    assert prunings and {outcome.status for outcome in prunings} == {0}
    digests = [Outcome(0, out, errors).digest("tar") for out, errors in said]
    assert len(set(digests[0::2])) == len(set(digests[1::2])) == 1
    assert digests[0] != digests[1]
    assert command("cache", "prune").status == 0
    assert command("cache", "verify").stdout == "the store is sound\n"


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_prune_beside_a_build_waits_for_nothing_and_leaves_it_what_it_has(command: Command) -> None:
    write_element(command.elements[0], "slow", stage_scripts([60, 70], "echo {0} > /etc/{0}; sleep 3"))
    build = command.start("build", "-o", "tar", "tiny-os", "slow")
    assert build.stdout is not None
    for line in build.stdout:
        if '"start"' in line and json.loads(line)["number"] == 3:
            break
    begun = time.monotonic()
    assert command("cache", "prune", "--all").status == 0
    assert build.poll() is None, f"prune waited for the build ({time.monotonic() - begun:.1f} s)"
    assert build.communicate()[0] and build.returncode == 0
    assert command.build("-o", "tar", "tiny-os", "slow").titles("start") == []


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_what_the_host_has_is_not_kept_a_second_time(command: Command) -> None:
    kinds = ("-o", "tar", "-o", "oci", "-o", "oci-archive", "-o", "docker-archive")
    first = command.build(*kinds, "tiny-os")
    assert held(command) == []
    assert not any(event["changed"] for event in command.build(*kinds, "tiny-os").events if event["type"] == "output")
    assert held(command) == [], "nothing was made again where it lies already"
    elsewhere = replace(command, destination=command.destination.with_name("elsewhere"))
    second = elsewhere.build(*kinds, "tiny-os")
    assert second.titles("start") == []
    for kind in ("tar", "oci", "oci-archive", "docker-archive"):
        assert second.digest(kind) == first.digest(kind)
    assert held(command) == []


def test_a_build_without_cache_leaves_the_layers_of_other_images_alone(command: Command) -> None:
    write_element(command.elements[0], "mine", stage_scripts([60, 70]))
    other, own = ("--name", "other", "tiny-os", "mine"), ("--name", "own", "tiny-os", "greeting")
    first = command.build("-o", "tar", *other)
    command.build("-o", "tar", *own)
    before = records(command)
    again = command.build("--no-cache", "-o", "tar", *own)
    assert again.titles("hit") == []
    assert set(before.values()) <= set(records(command).values()), "no layer was dropped from under another"
    after = command.build("-o", "tar", *other)
    assert after.titles("start") == []
    assert after.digest("tar") == first.digest("tar")
    mine = command.build("-o", "tar", *own)
    assert mine.titles("start") == [], "what it made is kept for later builds of this image"
    assert command("cache", "prune").status == 0
    assert command.build("-o", "tar", *other).titles("start") == []
    assert command("cache", "verify").status == 0


def test_the_store_keeps_within_a_bound_that_was_set_and_the_build_says_so(command: Command) -> None:
    bound, went = {"DIB_CTR_STORE_SIZE": "16M"}, []
    for number in range(3):
        fat = {"extra-data.d/60-fat": script(f'seq {number} 700000 > "$TARGET_ROOT/etc/fat"')}
        write_element(command.elements[0], "fat", fat)
        outcome = command.build("-o", "tar", "tiny-os", "fat", variables=bound)
        went.append(next(event for event in outcome.events if event["type"] == "end").get("pruned", 0))
        last = outcome.stderr.splitlines()[-1]
        assert ("the store let go of" in last) == bool(went[-1]), last
    # (What others write to the disk meanwhile has the store counted, and cleaned, one build earlier.)
    assert went[0] == 0 and max(went[1:]) > 4_000_000, went
    assert json.loads(command("cache", "du", "--json").stdout)["usage"]["layers"] < 18_000_000
    assert command.build("-o", "tar", "tiny-os", "fat", variables=bound).titles("start") == []
