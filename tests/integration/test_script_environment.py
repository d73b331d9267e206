"""The environment that scripts have: environment.d before there is a tree and in it, functions, who builds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.command import ELEMENTS, Command, script, write_element
from tests.integration.test_scripts_world import built

OS_RELEASE = script(
    "echo 'ID=tiny' > \"$TARGET_ROOT/usr/lib/os-release\"", 'ln -s ../usr/lib/os-release "$TARGET_ROOT/etc"'
)
VENDOR = 'export VENDOR="$(. /etc/os-release && echo "${ID:-nobody}")"\n'


@pytest.fixture
def command(place: Path) -> Command:
    (place / "elements").mkdir()
    return Command("host", place / "store", place / "out", (ELEMENTS, place / "elements"))


def told(folder: str, *names: str) -> str:
    """A script that writes these variables down in ``folder``/seen, each in a file of ``folder``'s name and its own."""
    place = '"$TMP_MOUNT_PATH/seen"' if folder.startswith(("root", "extra", "post-root", "cleanup")) else "/seen"
    lines = [f'echo "${{{name}-}}" > {place}/{folder}-{name}' for name in names]
    return script(f"mkdir -p {place}", *lines)


def test_what_looks_at_the_release_is_told_of_the_tree(command: Command, place: Path) -> None:
    """Inside and, where there is a tree, outside; the same from the cache, and again when the tree is another."""
    folders = ("extra-data.d", "install.d", "post-root.d", "cleanup.d")
    files = {
        "root.d/50-release": OS_RELEASE,
        "environment.d/40-own": 'source "$TMP_HOOKS_PATH/lib-of-looks/functions"\n',
        "environment.d/50-vendor": VENDOR,
        "lib-of-looks/functions": "true\n",
        **{f"{folder}/50-see": told(folder, "VENDOR") for folder in folders},
    }
    write_element(place / "elements", "looks", files)
    expected = {f"{folder}-VENDOR": "tiny\n" for folder in folders}
    assert built(command) == expected
    assert built(command) == expected
    write_element(place / "elements", "looks", {"root.d/50-release": OS_RELEASE.replace("ID=tiny", "ID=other")})
    assert built(command) == dict.fromkeys(expected, "other\n")


def test_what_fails_only_in_the_tree_fails_there_by_its_name(command: Command, place: Path) -> None:
    files = {
        "root.d/50-release": OS_RELEASE,
        "environment.d/50-vendor": VENDOR + '[ "$VENDOR" != tiny ]\n',
        "install.d/50-see": told("install.d", "VENDOR"),
    }
    write_element(place / "elements", "looks", files)
    outcome = command("build", "-o", "tar", "tiny-os", "looks")
    assert outcome.status == 1
    assert "dib-ctr: /tmp/in_target.d/environment.d/50-vendor ended with status 1" in outcome.stderr


def test_before_there_is_a_tree_the_build_image_is_asked_and_it_is_said(command: Command, place: Path) -> None:
    files = {"environment.d/50-vendor": VENDOR, "root.d/50-see": told("root.d", "VENDOR")}
    write_element(place / "elements", "looks", files)
    outcome = command("build", "-o", "tar", "tiny-os", "looks")
    assert outcome.status == 0
    said = "root.d/50-see (element looks) names VENDOR, which environment.d/50-vendor (element looks) makes of the root"
    assert said in outcome.stdout + outcome.stderr


def test_functions_and_who_builds_are_there_in_every_phase(command: Command, place: Path) -> None:
    folders = ("root.d", "extra-data.d", "install.d", "cleanup.d")
    call = 'folder="${0%/*}"\ngreeting > "${TARGET_ROOT:-}/seen/${folder##*/}-greeting"\n'
    write_element(
        place / "elements",
        "looks",
        {
            "environment.d/50-fn": 'greeting() { echo "hello $DIB_WHOM"; }\nexport -f greeting\n',
            "environment.d/50-fn~": "export DIB_WHOM=nobody\n",
            **{f"{each}/50-see": told(each, "USER", "LOGNAME", "DIB_OFFLINE") + call for each in folders},
        },
    )
    found = built(command, DIB_WHOM="world")
    for folder in folders:
        assert found[f"{folder}-USER"] == found[f"{folder}-LOGNAME"] == "root\n"
        assert found[f"{folder}-DIB_OFFLINE"] == "\n"
        assert found[f"{folder}-greeting"] == "hello world\n"


def test_environment_d_is_told_where_things_are(command: Command, place: Path) -> None:
    """Public elements name files of the tree by TMP_BUILD_DIR there."""
    files = {
        "environment.d/50-where": 'export MINE="$TMP_BUILD_DIR/mnt/etc $TMP_MOUNT_PATH $TMP_IMAGE_DIR"\n',
        "post-root.d/50-see": told("post-root.d", "MINE", "TMP_MOUNT_PATH"),
    }
    write_element(place / "elements", "looks", files)
    found = built(command)
    tree = found["post-root.d-TMP_MOUNT_PATH"].strip()
    assert found["post-root.d-MINE"].split()[:2] == [f"{tree}/etc", tree]
    assert len(found["post-root.d-MINE"].split()) == 3


def test_what_is_known_of_a_release_is_that_of_the_one_that_snippets_set(command: Command, place: Path) -> None:
    """By its usual form it is read before they run; by any other they are sourced once more, with the other facts."""
    tell = told("install.d", "DIB_FACT_RPM_PATH", "DIB_RPM_HERE")
    files = {
        "environment.d/90-own": "export DISTRO_NAME=rocky\n"
        'if [ -z "${DIB_RELEASE:-}" ]; then export DIB_RELEASE=9; fi\n'
        'export DIB_RPM_HERE="$DIB_RELEASE $DIB_FACT_RPM_PATH"\n',
        "root.d/50-release": OS_RELEASE,
        "install.d/50-see": tell,
    }
    write_element(place / "elements", "own", files)
    command.build("tiny-os", "own", "-o", "dir", "--name", "nine")
    seen = place / "out/nine.dir/seen"
    assert (seen / "install.d-DIB_FACT_RPM_PATH").read_text() == "/var/lib/rpm\n"
    assert (seen / "install.d-DIB_RPM_HERE").read_text() == "9 /var/lib/rpm\n"
    command.build("tiny-os", "own", "-o", "dir", "--name", "ten", "--release", "10")
    assert (place / "out/ten.dir/seen/install.d-DIB_RPM_HERE").read_text() == "10 /usr/lib/sysimage/rpm\n"
