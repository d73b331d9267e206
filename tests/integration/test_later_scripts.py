"""Scripts that a stage puts into a later phase's folder, changes there or takes away: the phase runs what is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.command import ELEMENTS, Command, script, write_element
from tests.integration.test_layers import read_tree


@pytest.fixture
def command(place: Path) -> Command:
    (place / "elements").mkdir()
    return Command("host", place / "store", place / "out", (place / "elements", ELEMENTS))


def put(path: str, *lines: str) -> str:
    """Lines of a script that put another one at a path of the hooks."""
    text = "\\n".join(("#!/bin/sh", *lines))
    return f'printf \'{text}\\n\' > "$TMP_HOOKS_PATH/{path}"; chmod +x "$TMP_HOOKS_PATH/{path}"'


def test_a_script_for_a_later_phase_runs_there_and_is_cached_by_its_content(command: Command) -> None:
    own = command.elements[0]
    hooks = {
        "extra-data.d/50-make": script(
            put("install.d/60-made", "echo $%s_GREETING > /etc/made").replace(
                "\\n' >", "\\n' DIB >"
            ),  # not its own to see
            put("extra-data.d/60-late", "echo > $TARGET_ROOT/etc/late"),
            'ln -sf ../library/linked "$TMP_HOOKS_PATH/cleanup.d/10-linked"',
            'mkdir "$TMP_HOOKS_PATH/library"',
            put("library/linked", "echo linked > $TARGET_ROOT/etc/linked"),
        ),
        "install.d/70-after": script("[ ! -e /etc/made ] || cat /etc/made > /etc/after"),
    }
    write_element(own, "maker", hooks)
    first = command.build("-o", "tar", "tiny-os", "maker", variables={"DIB_GREETING": "hello"})
    assert [each for each in first.titles("start") if each[0].isdigit()] == [
        *("10-copy-shell", "50-make", "60-made", "70-after", "10-linked")
    ]
    assert "install.d/60-made" in " ".join(event["text"] for event in first.events if event["type"] == "note")
    tree = read_tree(first, command)
    assert (tree["etc/made"], tree["etc/after"], tree["etc/linked"]) == ("hello\n", "hello\n", "linked\n")
    assert "etc/late" not in tree, "the list of its own phase was made before"
    again = command.build("-o", "tar", "tiny-os", "maker", variables={"DIB_GREETING": "hello"})
    assert again.titles("start") == []
    assert again.titles("hit") == first.titles("start")
    planned = command("plan", "--json", "tiny-os", "maker", variables={"DIB_GREETING": "day"})
    assert planned.status == 0, planned.stderr
    plan = json.loads(planned.stdout)
    rows = {stage["script"]: stage for stage in (plan["stages"] if isinstance(plan, dict) else plan)}
    assert rows["50-make"]["hit"] and not rows["60-made"]["hit"]
    assert rows["60-made"]["element"] == "maker"
    assert "DIB_GREETING" in rows["60-made"]["why"]
    changed = command.build("-o", "tar", "tiny-os", "maker", variables={"DIB_GREETING": "day"})
    assert changed.titles("start") == ["60-made", "70-after", "10-linked", "seal-tree"]
    assert read_tree(changed, command)["etc/after"] == "day\n"
    write_element(own, "maker", {"extra-data.d/50-make": script("true")})
    without = command.build("-o", "tar", "tiny-os", "maker", variables={"DIB_GREETING": "day"})
    assert "60-made" not in without.titles("start")


MORE = pytest.mark.thorough("two more builds; `just test` has one that goes and one that changes")


@pytest.mark.parametrize(
    ("does", "left"),
    [
        ('rm "$TMP_HOOKS_PATH/install.d/50-one"', ["60-two"]),
        pytest.param("rm ${TMP_HOOKS_PATH}/install.d/*", [], marks=MORE),
        pytest.param('cd "$TMP_HOOKS_PATH"; chmod -x install.d/60-two', ["50-one"], marks=MORE),
        ('sed -i "s/two/three/" $TMP_HOOKS_PATH/install.d/60-two', ["50-one", "60-three"]),
        pytest.param(
            'mv $TMP_HOOKS_PATH/install.d/50-one "$TMP_HOOKS_PATH/install.d/70-one"', ["60-two", "70-one"], marks=MORE
        ),
    ],
)
def test_a_script_of_a_later_phase_may_be_changed_or_taken_away(command: Command, does: str, left: list[str]) -> None:
    write_element(
        command.elements[0],
        "two",
        {
            "install.d/50-one": script('echo "${0##*/}" >> /etc/ran'),
            "install.d/60-two": script("echo 60-two >> /etc/ran"),
        },
    )
    write_element(command.elements[0], "changes", {"extra-data.d/10-change": script(does)})
    for _ in range(2):
        outcome = command.build("-o", "tar", "tiny-os", "two", "changes")
        ran = read_tree(outcome, command).get("etc/ran", "").split()
        assert ran == left
    assert outcome.titles("start") == []


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_a_snippet_for_later_phases_is_remarked_on(command: Command) -> None:
    hooks = {
        "extra-data.d/50-make": script('mkdir -p "$TMP_HOOKS_PATH/environment.d"', put("environment.d/90-x", "X=1"))
    }
    write_element(command.elements[0], "maker", hooks)
    for _ in range(2):
        outcome = command.build("tiny-os", "maker")
        notes = [event["text"] for event in outcome.events if event["type"] == "note"]
        assert len([note for note in notes if "environment.d/90-x" in note and "is not read" in note]) == 1


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_offline_and_without_the_cache_too(command: Command) -> None:
    hooks = {"extra-data.d/50-make": script("# curl", put("install.d/60-made", "echo made > /etc/made"))}
    write_element(command.elements[0], "maker", hooks)
    for options in (["--offline"], ["--no-cache"], ["--offline", "--no-cache"]):
        outcome = command.build(*options, "-o", "tar", "tiny-os", "maker")
        assert "60-made" in outcome.titles("start")
        assert read_tree(outcome, command)["etc/made"] == "made\n"
    assert command.build("--offline", "-o", "tar", "tiny-os", "maker").titles("start") == []
