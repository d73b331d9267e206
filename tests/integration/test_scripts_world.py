"""What scripts find around them: given files, mounts that last, a resolver that a script may replace, commands."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder import engines
from tests.integration.command import ELEMENTS, Command, script, write_element
from tests.integration.engine_cases import missing

PODMAN = pytest.param("podman", marks=pytest.mark.thorough("all of it under another engine"))


@pytest.fixture(params=["host", PODMAN])
def command(request: pytest.FixtureRequest, place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    (place / "elements").mkdir()
    made = Command(request.param, place / "store", place / "out", (ELEMENTS, place / "elements"))
    if request.param == "host":
        yield made
        return
    if shutil.which("podman") is None:
        missing("there is no podman")
    monkeypatch.setenv("DIB_CTR_STORE", f"dib-ctr-test-{os.getpid()}")
    engine = engines.select("podman")
    yield made
    engine.remove_store()


@pytest.fixture
def folders(place: Path) -> Iterator[list[Path]]:
    """Folders whose paths the build image has, in part, or not at all."""
    found = [place / "given"]
    if os.geteuid() == 0:
        name = f"dib-ctr-test-{uuid.uuid4().hex[:8]}"
        found += [Path("/", name), Path("/etc", name, "deeper")]
    for folder in found:
        folder.mkdir(parents=True)
    yield found
    for folder in found[1:]:
        shutil.rmtree(folder if folder.parent == Path("/") else folder.parent)


def built(command: Command, *arguments: str, **variables: str) -> dict[str, str]:
    """Build a tar; the texts of the small files in its /seen."""
    command.build("-o", "tar", "tiny-os", "looks", *arguments, variables=variables)
    image = command.destination / "tiny-os.tar"
    names = subprocess.check_output(["tar", "-tf", image], text=True).split()
    seen = [name for name in names if "seen/" in name and not name.endswith("/")]
    return {Path(name).name: subprocess.check_output(["tar", "-xOf", image, name], text=True) for name in seen}


def test_a_file_that_a_variable_names_is_seen_at_its_path(command: Command, folders: list[Path], place: Path) -> None:
    """Wherever it lies; another content runs the script again, and no other variable's file shows."""
    write_element(
        place / "elements",
        "looks",
        {
            "extra-data.d/10-looks": script(
                'mkdir -p "$TMP_MOUNT_PATH/seen"',
                'cat "$DIB_LOOKS_AT" > "$TMP_MOUNT_PATH/seen/file"',
                'if [ -e "$(dirname "$DIB_LOOKS_AT")/secret" ]; then echo yes; fi > "$TMP_MOUNT_PATH/seen/secret"',
            )
        },
    )
    for folder in folders:
        (folder / "secret").write_text("no")
        for text in ("one", "two"):
            (folder / "file").write_text(text)
            found = built(command, DIB_LOOKS_AT=str(folder / "file"))
            assert found["file"] == text
            assert found["secret"] == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="a store among the machine's programs takes root")
def test_no_script_sees_a_store_among_the_programs_or_writes_there(place: Path) -> None:
    below = Path("/usr", f"dib-ctr-test-{uuid.uuid4().hex[:8]}")
    below.mkdir()
    (place / "elements").mkdir()
    look = script(
        'mkdir -p "$TMP_MOUNT_PATH/seen"',
        f'if [ -e {below}/store/keys ] || find {below} | grep /keys; then echo yes; fi > "$TMP_MOUNT_PATH/seen/store"',
        f'for new in {below}/new /usr/new; do touch $new 2>&1 || true; done > "$TMP_MOUNT_PATH/seen/programs"',
    )
    write_element(place / "elements", "looks", {"extra-data.d/10-looks": look})
    try:
        command = Command("host", below / "store", place / "out", (ELEMENTS, place / "elements"))
        found = built(command)
        assert found["store"] == ""
        # (Not for want of a right alone, which a daemon's root would have.)
        assert [line.rpartition(": ")[2] for line in found["programs"].splitlines()] == ["Read-only file system"] * 2
        assert (below / "store/keys").is_dir()
    finally:
        shutil.rmtree(below)


def test_mounts_of_the_cache_last_until_the_tree_is_finished(command: Command, place: Path) -> None:
    """A later stage finds what an earlier one, or an earlier build, left there; the image has none of it."""
    write_element(
        place / "elements",
        "looks",
        {
            "root.d/50-cache": script(
                'mkdir -p "$DIB_IMAGE_CACHE/mine" "$TARGET_ROOT/var/mine" "$TARGET_ROOT/seen"',
                'mount --bind "$DIB_IMAGE_CACHE/mine" "$TARGET_ROOT/var/mine"',
            ),
            "install.d/50-use": script("echo ${DIB_WORD} >> /var/mine/words", "cat /var/mine/words > /seen/inside"),
            "post-root.d/50-look": script('cat "$TMP_MOUNT_PATH/var/mine/words" > "$TMP_MOUNT_PATH/seen/after"'),
            "finalise.d/50-gone": script("ls /var/mine > /seen/finalise"),
        },
    )
    first = built(command, DIB_WORD="one")
    assert first == {"inside": "one\n", "after": "one\n", "finalise": ""}
    assert built(command, "--no-cache", DIB_WORD="one")["inside"] == "one\none\n"
    assert built(command, DIB_WORD="two")["inside"] == "two\n", "it is for builds with the same scripts and variables"


def test_a_script_may_replace_the_resolver(command: Command, place: Path) -> None:
    """As a package does that brings a link; and .ORIG becomes the image's own, while no layer has the builder's."""
    write_element(
        place / "elements",
        "looks",
        {
            "install.d/50-look": script(
                "# curl",
                "mkdir -p /seen",
                "[ -s /etc/resolv.conf ]",
                "echo nameserver 192.0.2.1 > /etc/resolv.conf.ORIG",
            ),
            "finalise.d/50-copy": script("if [ -s /etc/resolv.conf ]; then echo full; fi > /seen/size"),
        },
    )
    assert built(command)["size"] == ""
    assert tar_text(command, "etc/resolv.conf") == "nameserver 192.0.2.1\n"
    write_element(
        place / "elements",
        "looks",
        {"install.d/50-look": script("# curl", "mkdir -p /seen", "ln -sf ../run/mine /etc/resolv.conf")},
    )
    built(command)
    listed = subprocess.check_output(["tar", "-tvf", command.destination / "tiny-os.tar"], text=True)
    assert "etc/resolv.conf -> ../run/mine" in listed


def tar_text(command: Command, name: str) -> str:
    image = command.destination / "tiny-os.tar"
    names = subprocess.check_output(["tar", "-tf", image], text=True).split()
    (found,) = [one for one in names if one.removeprefix("./") == name]
    return subprocess.check_output(["tar", "-xOf", image, found], text=True)


def test_what_is_left_running_ends_with_its_script(command: Command, place: Path) -> None:
    """A daemon is asked to end and writes down what it has; what only prints on is heard to its end."""
    daemon = """trap 'echo kept > "$TMP_MOUNT_PATH/seen/daemon"; exit' TERM; while :; do sleep 0.05; done"""
    write_element(
        place / "elements",
        "looks",
        {
            "extra-data.d/10-start": script(
                'mkdir -p "$TMP_MOUNT_PATH/seen"',
                f"setsid bash -c {shlex.quote(daemon)} daemon > /dev/null 2>&1 &",
                "sleep 0.2",
            ),
            "extra-data.d/20-later": script(
                'cp "$TMP_MOUNT_PATH/seen/daemon" "$TMP_MOUNT_PATH/seen/later"',
                'exec > >(sleep 0.05; cat > "$TMP_MOUNT_PATH/seen/piped")',
                "echo to the end",
            ),
        },
    )
    log = place / "log"
    found = built(command, "--log", str(log))
    assert found == {"daemon": "kept\n", "later": "kept\n", "piped": "to the end\n"}
    told = [line for line in log.read_text().splitlines() if "left running" in line]
    assert len(told) == 1
    assert "10-start" in told[0]
    assert "bash" in told[0]


def test_a_fat_image_is_mounted_without_a_loop_device(command: Command, place: Path) -> None:
    """What was written to the folder is in the file after umount, what was removed is not, all else is as it was."""
    write_element(
        place / "elements",
        "looks",
        {
            "extra-data.d/10-looks": script(
                'seen="$TMP_MOUNT_PATH/seen"; image="$TMP_BUILD_DIR/fat.img"; at="$TMP_BUILD_DIR/at"',
                'mkdir -p "$seen" "$at"',
                'dd if=/dev/zero of="$image" bs=1K count=2880 2> /dev/null',
                'mkfs.vfat -F 12 -n LABELLED "$image" > /dev/null',
                'sudo mount -o loop "$image" "$at"',
                'sudo mkdir -p "$at/EFI/BOOT"; echo one > "$at/EFI/BOOT/one.efi"; echo two > "$at/two.txt"',
                'sudo umount "$at"; [ -z "$(ls "$at")" ]',
                'sudo mount -t vfat -o loop,rw "$image" "$at"',
                'cat "$at/EFI/BOOT/one.efi" > "$seen/read"; rm "$at/two.txt"; echo three > "$at/EFI/three"',
                'sudo umount "$at"',
                'sudo mount -o ro,loop "$image" "$at"; ! touch "$at/x" 2> /dev/null; sudo umount "$at"',
                'mdir -/ -b -i "$image" :: | sort > "$seen/listed"; mlabel -s -i "$image" :: > "$seen/label"',
                'if mount -o loop /etc/passwd "$at" 2> /dev/null; then exit 1; fi',
                'mount -t tmpfs mine "$at"; findmnt -n -o FSTYPE "$at" > "$seen/plain"; umount "$at"',
            )
        },
    )
    found = built(command)
    assert found["read"] == "one\n"
    assert found["listed"].split() == ["::/EFI/", "::/EFI/BOOT/", "::/EFI/BOOT/one.efi", "::/EFI/three"]
    assert "LABELLED" in found["label"]
    assert found["plain"] == "tmpfs\n"
