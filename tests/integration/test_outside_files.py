"""What scripts outside the tree leave for each other beside it, as files of one machine: /tmp, home, TMP_BUILD_DIR."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.command import ELEMENTS, Command, script, write_element
from tests.integration.test_layers import read_tree

PLACES = ("/tmp", "/var/tmp", "$HOME", "$TMP_BUILD_DIR", "$TMP_IMAGE_DIR")
LEAVE = [f'echo {number} > "{place}/left"; mkdir -p "{place}/folder/deep"' for number, place in enumerate(PLACES)]
TELL = [f'cat "{place}/left"; test -d "{place}/folder/deep" && stat -c %a "{place}"' for place in PLACES]


@pytest.fixture
def command(place: Path) -> Command:
    (place / "elements").mkdir()
    return Command("host", place / "store", place / "out", (place / "elements", ELEMENTS))


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_a_later_script_of_any_phase_finds_it_and_a_hit_is_as_good_as_a_run(command: Command) -> None:
    own = command.elements[0]
    hooks = {
        "extra-data.d/10-leave": script(*LEAVE, "mkdir -m 700 /tmp/closed", "ln -s /etc /tmp/link"),
        "extra-data.d/20-tell": script("{", *TELL, 'readlink /tmp/link; } > "$TARGET_ROOT/etc/same-phase"'),
        "install.d/10-look": script("ls -A /tmp > /etc/inside"),
        "cleanup.d/10-tell": script("{", *TELL, 'stat -c %a /tmp/closed; } > "$TARGET_ROOT/etc/later-phase"'),
    }
    write_element(own, "leaves", hooks)
    outcome = command.build("-o", "tar", "tiny-os", "leaves")
    tree = read_tree(outcome, command)
    told = "0\n1777\n1\n1777\n2\n700\n3\n755\n4\n755\n"
    assert tree["etc/same-phase"] == f"{told}/etc\n"
    assert tree["etc/later-phase"] == f"{told}700\n"
    assert tree["etc/inside"] == "in_target.d\n", "the tree's own /tmp"
    assert not [name for name in tree if "left" in name]
    write_element(own, "leaves", {"cleanup.d/10-tell": hooks["cleanup.d/10-tell"] + "# changed\n"})
    again = command.build("-o", "tar", "tiny-os", "leaves")
    assert again.titles("start") == ["10-tell", "seal-tree"]
    assert read_tree(again, command)["etc/later-phase"] == f"{told}700\n"


def test_what_environment_d_makes_is_there_for_the_scripts_whose_variables_name_it(command: Command) -> None:
    hooks = {
        "environment.d/10-make": "export X_FILE=$(mktemp) X_FOLDER=$(mktemp -d)\necho made > $X_FOLDER/file\n",
        "extra-data.d/10-use": script(
            'test -f "$X_FILE"; cat "$X_FOLDER/file" > "$TARGET_ROOT/etc/made"',
            'stat -c %a "$X_FILE" "$X_FOLDER" >> "$X_FILE"',
        ),
        "extra-data.d/20-see": script('cat "$X_FILE" > "$TARGET_ROOT/etc/modes"'),
        "extra-data.d/30-other": script('ls -A /tmp > "$TARGET_ROOT/etc/number"'),
    }
    write_element(command.elements[0], "made", hooks)
    tree = read_tree(command.build("-o", "tar", "tiny-os", "made"), command)
    assert (tree["etc/made"], tree["etc/modes"]) == ("made\n", "600\n700\n")
    assert len(tree["etc/number"].split()) == 2


def test_what_a_script_removes_is_gone_and_what_it_does_not_touch_makes_no_layer(command: Command) -> None:
    hooks = {
        "extra-data.d/10-leave": script("echo 1 > /tmp/one; echo 2 > /tmp/two"),
        "extra-data.d/20-take": script("rm /tmp/one; ls /var/tmp /root /tmp > /dev/null"),
        "extra-data.d/30-look": script("cat /tmp/two; [ ! -e /tmp/one ]"),
    }
    write_element(command.elements[0], "leaves", hooks)
    outcome = command.build("-o", "tar", "tiny-os", "leaves")
    done = {event["number"]: event["bytes"] for event in outcome.events if event["type"] == "done"}
    numbers = {
        stage["script"]: stage["number"]
        for event in outcome.events
        if event["type"] == "plan"
        for stage in event["stages"]
    }
    assert done[numbers["30-look"]] == 0


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_a_given_file_leaves_no_trace_there(command: Command, tmp_path_factory: pytest.TempPathFactory) -> None:
    """It lies below /tmp on this machine, where stages keep what they leave: for a later one there is nothing."""
    folder = Path("/tmp") / f"dib-ctr-given-{tmp_path_factory.mktemp('x').parent.name}"
    folder.mkdir()
    try:
        (folder / "file").write_text("given")
        hooks = {
            "extra-data.d/10-see": script('cat "$DIB_GIVEN" > "$TARGET_ROOT/etc/seen"; echo mine > /tmp/mine'),
            "extra-data.d/20-look": script('find /tmp -mindepth 1 > "$TARGET_ROOT/etc/found"'),
        }
        write_element(command.elements[0], "given", hooks)
        outcome = command.build("-o", "tar", "tiny-os", "given", variables={"DIB_GIVEN": str(folder / "file")})
        tree = read_tree(outcome, command)
        assert (tree["etc/seen"], tree["etc/found"]) == ("given", "/tmp/mine\n")
    finally:
        (folder / "file").unlink()
        folder.rmdir()


def test_links_that_a_script_leaves_lead_nowhere_outside_of_its_sandbox(command: Command, place: Path) -> None:
    """A stage before left links where a given file's place is made, and taken away, later."""
    target = place / "target"
    target.mkdir()
    (target / "file").touch()
    folder = Path("/tmp") / f"dib-ctr-{place.name}"
    folder.mkdir()
    (folder / "file").write_text("given")
    try:
        hooks = {
            "extra-data.d/10-link": script(f"ln -s {target} /tmp/{folder.name}"),
            "extra-data.d/20-see": script('[ "$(cat "$DIB_GIVEN")" = given ]'),
        }
        write_element(command.elements[0], "given", hooks)
        command.build("tiny-os", "given", variables={"DIB_GIVEN": str(folder / "file")})
        assert [file.name for file in target.iterdir()] == ["file"]
    finally:
        (folder / "file").unlink()
        folder.rmdir()


def test_odd_names_that_environment_d_makes_are_left_out(command: Command) -> None:
    hooks = {
        "environment.d/10-make": "export X_FOLDER=$(mktemp -d)\necho made > $X_FOLDER/file; mkdir $X_FOLDER/.folder\n"
        "touch \"$X_FOLDER/\"$'\\xff'; mkfifo $X_FOLDER/pipe; ln -s /etc $X_FOLDER/link\n"
        f"(cd $X_FOLDER; for each in {{1..60}}; do mkdir {'x' * 100}; cd {'x' * 100}; done)\n",
        "extra-data.d/10-use": script('cat "$X_FOLDER/file" > "$TARGET_ROOT/etc/made"'),
    }
    write_element(command.elements[0], "made", hooks)
    assert read_tree(command.build("-o", "tar", "tiny-os", "made"), command)["etc/made"] == "made\n"


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_scripts_that_name_none_of_it_are_hits_though_it_has_another_name_each_time(command: Command) -> None:
    """Nor does what a provided command (sudo) is made of become part of a layer."""
    hooks = {
        "environment.d/10-make": "export X_FOLDER=$(mktemp -d)\necho made > $X_FOLDER/file\n",
        "root.d/90-other": script("sudo ls /tmp > /dev/null; file=tmp"),
        "extra-data.d/10-use": script('cat "$X_FOLDER/file"'),
    }
    write_element(command.elements[0], "made", hooks)
    first = command.build("-o", "tar", "tiny-os", "made")
    number = next(
        stage["number"]
        for event in first.events
        if event["type"] == "plan"
        for stage in event["stages"]
        if stage["script"] == "90-other"
    )
    assert [event["bytes"] for event in first.events if event["type"] == "done" and event["number"] == number] == [0]
    again = command.build("-o", "tar", "tiny-os", "made")
    assert {"10-copy-shell", "90-other"} <= {*again.titles("hit")}
    assert "10-use" in again.titles("start"), "its variable has another value"


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_links_beside_the_image(command: Command) -> None:
    hooks = {
        "extra-data.d/10-leave": script("echo kernel > tiny-os.vmlinuz-1; ln -s tiny-os.vmlinuz-1 tiny-os.vmlinuz")
    }
    write_element(command.elements[0], "leaves", hooks)
    for _ in range(2):
        command.build("-o", "tar", "tiny-os", "leaves")
        assert (command.destination / "tiny-os.vmlinuz").read_text() == "kernel\n"
    write_element(command.elements[0], "leaves", {"extra-data.d/10-leave": script("ln -s /etc/passwd tiny-os.users")})
    outcome = command("build", "-o", "tar", "tiny-os", "leaves")
    assert outcome.status == 1
    assert "is a link to /etc/passwd, which is none of the files beside it" in outcome.stderr
