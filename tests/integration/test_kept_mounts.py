"""Mounts in the tree that a script outside leaves: there for later ones of their phases, until one takes them away."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.command import ELEMENTS, Command, script, write_element
from tests.integration.test_layers import read_tree


@pytest.fixture
def command(place: Path) -> Command:
    (place / "elements").mkdir()
    return Command("host", place / "store", place / "out", (place / "elements", ELEMENTS))


def test_of_pre_finalise_until_a_script_of_cleanup_unmounts_it(command: Command) -> None:
    hooks = {
        "pre-finalise.d/50-mount": script(
            'mkdir -p "$DIB_IMAGE_CACHE/probe" "$TARGET_ROOT/cache" /tmp/tool "$TARGET_ROOT/opt/tool"',
            'echo cached > "$DIB_IMAGE_CACHE/probe/file"; echo tool > /tmp/tool/file',
            'mount --bind "$DIB_IMAGE_CACHE/probe" "$TARGET_ROOT/cache"',
            'mount --bind /tmp/tool "$TARGET_ROOT/opt/tool"',
        ),
        "finalise.d/50-read": script("cat /cache/file /opt/tool/file > /etc/inside; echo more > /opt/tool/more"),
        "cleanup.d/10-read": script(
            'cat "$TARGET_ROOT/cache/file" /tmp/tool/more > "$TARGET_ROOT/etc/outside"',
            'umount "$TARGET_ROOT/cache"; umount "$TARGET_ROOT/opt/tool"',
        ),
        "cleanup.d/20-gone": script('ls -A "$TARGET_ROOT/cache" "$TARGET_ROOT/opt/tool" > "$TARGET_ROOT/etc/gone"'),
    }
    write_element(command.elements[0], "mounts", hooks)
    for last in ("", "# changed\n"):
        write_element(command.elements[0], "mounts", {"cleanup.d/20-gone": hooks["cleanup.d/20-gone"] + last})
        outcome = command.build("-o", "tar", "tiny-os", "mounts")
        tree = read_tree(outcome, command)
        assert (tree["etc/inside"], tree["etc/outside"]) == ("cached\ntool\n", "cached\nmore\n")
        assert [line for line in tree["etc/gone"].splitlines() if not line.endswith(":")] == [""]
        assert not [name for name in tree if name.startswith(("cache/", "opt/tool/"))]
    assert outcome.titles("start") == ["20-gone", "seal-tree"]


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_of_the_first_phases_not_in_the_last_ones_and_others_are_remarked_on(command: Command) -> None:
    hooks = {
        "extra-data.d/50-mount": script(
            'mkdir -p /tmp/tool "$TARGET_ROOT/opt/tool" "$TARGET_ROOT/opt/none"; echo tool > /tmp/tool/file',
            'mount --bind /tmp/tool "$TARGET_ROOT/opt/tool"; mount -t tmpfs none "$TARGET_ROOT/opt/none"',
        ),
        "install.d/50-read": script("cat /opt/tool/file > /etc/inside"),
        "pre-finalise.d/50-look": script('ls -A "$TARGET_ROOT/opt/tool" > "$TARGET_ROOT/etc/later"'),
    }
    write_element(command.elements[0], "mounts", hooks)
    outcome = command.build("-o", "tar", "tiny-os", "mounts")
    tree = read_tree(outcome, command)
    assert (tree["etc/inside"], tree["etc/later"]) == ("tool\n", "")
    said = [event["text"] for event in outcome.events if event["type"] == "log"]
    assert [text for text in said if "mounted" in text] == [
        "dib-ctr: tmpfs is mounted on /opt/none of the tree: that ends with this script, no later one sees it"
    ]


def test_a_folder_of_the_cache_that_a_script_makes_a_link_of_leads_nowhere(command: Command, place: Path) -> None:
    (place / "machine").mkdir()
    (place / "machine/file").write_text("the machine's own")
    hooks = {
        "extra-data.d/10-mount": script(
            'mkdir -p "$DIB_IMAGE_CACHE/probe/below" "$TARGET_ROOT/all" "$TARGET_ROOT/below"',
            'mount --bind "$DIB_IMAGE_CACHE/probe" "$TARGET_ROOT/all"',
            'mount --bind "$DIB_IMAGE_CACHE/probe/below" "$TARGET_ROOT/below"',
        ),
        "extra-data.d/20-link": script(
            'rmdir "$TARGET_ROOT/all/below"', f'ln -s {place / "machine"} "$TARGET_ROOT/all/below"'
        ),
        "extra-data.d/30-look": script('ls -A "$TARGET_ROOT/below" > "$TARGET_ROOT/etc/found"'),
    }
    write_element(command.elements[0], "mounts", hooks)
    outcome = command.build("-o", "tar", "tiny-os", "mounts")
    assert read_tree(outcome, command)["etc/found"] == ""
    notes = [event["text"] for event in outcome.events if event["type"] == "note"]
    assert any("30-look does not see what was mounted on /below" in text for text in notes)


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_names_that_are_no_text_or_too_long_to_keep(command: Command) -> None:
    name = "x" * 200
    hooks = {
        "extra-data.d/10-mount": script(
            """odd=$'odd\\xff\\n name'; mkdir -p "/tmp/$odd" "$TARGET_ROOT/$odd"; echo kept > "/tmp/$odd/file" """,
            'mount --bind "/tmp/$odd" "$TARGET_ROOT/$odd"',
            f'mkdir -p "$TARGET_ROOT/{name}/{name}"; mount --bind /tmp "$TARGET_ROOT/{name}/{name}"',
        ),
        "extra-data.d/20-look": script('cat "$TARGET_ROOT"/odd*/file > "$TARGET_ROOT/etc/found"'),
    }
    write_element(command.elements[0], "mounts", hooks)
    outcome = command.build("-o", "tar", "tiny-os", "mounts")
    assert read_tree(outcome, command)["etc/found"] == "kept\n"
    said = [event["text"] for event in outcome.events if event["type"] == "log"]
    assert any(f"mounted on /{name}/{name} of the tree: that ends with this script" in text for text in said)
