"""A store whose disk is full, out of inodes, read-only or of the wrong kind: it is named, and nothing wrong is kept."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.command import ELEMENTS, Command, Outcome, script, write_element

WANTED = ("-o", "oci", "--no-documents", "tiny-os", "some")
BIG = "seq 1500000"  # ten megabytes
Disk = Callable[[str], Path]


@pytest.fixture
def command(place: Path) -> Command:
    (place / "elements").mkdir()
    return Command("host", place / "store", place / "out", (place / "elements", ELEMENTS))


def on(command: Command, folder: Path) -> Command:
    return Command("host", folder / "store", folder.with_name("small-out"), command.elements)


def element(command: Command, *lines: str) -> None:
    write_element(command.elements[0], "some", {"extra-data.d/60-some": script('cd "$TARGET_ROOT"', *lines)})


def said(outcome: Outcome) -> str:
    assert "Traceback" not in outcome.stderr
    return outcome.stderr


def test_a_stage_that_met_a_full_disk_is_not_kept_though_its_script_went_on(command: Command, small_disk: Disk) -> None:
    element(command, "head -c 200M /dev/zero > zero 2> /dev/null || true", "rm -f zero", "echo done > done")
    small = on(command, small_disk("size=48m"))
    for _ in range(2):  # nor is it a hit for the next build
        outcome = small("build", *WANTED)
        assert outcome.status == 1
        assert "the disk that holds the store is full" in said(outcome)
        assert "by now it has room again" in outcome.stderr
        assert "extra-data/some/60-some ran; its script ended with 0 all the same" in outcome.stderr
        assert "cache prune" in outcome.stderr
        assert "60-some" in outcome.titles("start")
    small_disk("size=400m")
    assert small.build(*WANTED).digest() == command.build(*WANTED).digest()


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_what_a_program_says_of_a_full_disk_counts_where_nobody_saw_it(command: Command, small_disk: Disk) -> None:
    element(command, "fallocate -l 10G huge || true", "rm -f huge")
    small = on(command, small_disk("size=64m"))
    outcome = small("build", *WANTED)
    assert outcome.status == 1
    assert "full" in said(outcome)
    assert "No space left on device" in outcome.stderr


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_a_store_without_inodes_says_so(command: Command, small_disk: Disk) -> None:
    element(command, "mkdir many", "touch many/{1..9999} 2> /dev/null || true", "rm -r many")
    small = on(command, small_disk("size=200m,nr_inodes=5000"))
    outcome = small("build", *WANTED)
    assert outcome.status == 1
    assert "of 5000 inodes free" in said(outcome)
    assert "too many files" in outcome.stderr
    small_disk("nr_inodes=50000")
    assert small.build(*WANTED).digest() == command.build(*WANTED).digest()


@pytest.mark.thorough("a build for each amount of room; `just test` has one")
def test_whatever_room_there_is_the_image_is_right_or_the_disk_is_named(command: Command, small_disk: Disk) -> None:
    element(command, f"{BIG} > big 2> /dev/null || rm -f big", "{ sort -r big > big2 || true; } 2> /dev/null")
    clean = command.build(*WANTED).digest()
    ended = []
    for size in (6, 13, 17, 20, 23, 27, 33, 60):
        small = on(command, small_disk(f"size={size}m"))
        outcome = small("build", *WANTED)
        ended.append(outcome.status)
        if outcome.status:
            assert outcome.status == 1
            assert "full" in said(outcome), (size, outcome.stderr)
            assert (
                "cache prune" in outcome.stderr or "make room" in outcome.stderr or "look at the disk" in outcome.stderr
            )
        else:
            assert outcome.digest() == clean, size
        small_disk("size=400m")
        assert small.build(*WANTED).digest() == clean, size
        assert small("cache", "verify").status == 0, size
        subprocess.run(["rm", "-rf", small.store, small.destination], check=True)
    assert {0, 1} == set(ended)


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_a_store_that_is_mounted_read_only_says_so(command: Command, small_disk: Disk) -> None:
    element(command, "echo done > done")
    small = on(command, small_disk("size=100m"))
    small.build(*WANTED)
    untried = {
        "XDG_CACHE_HOME": str(small_disk("ro").with_name("cache"))
    }  # the engine's probe is what meets the disk first
    for variables in ({}, untried):
        for arguments in (("build", "--replace", *WANTED), ("cache", "du"), ("plan", "tiny-os")):
            outcome = small(*arguments, variables=variables)
            assert outcome.status == 1
            assert "the store lies on a file system that is mounted read-only" in said(outcome), arguments
    small_disk("rw")
    assert small.build(*WANTED).titles("start") == []


def test_the_first_probe_of_an_engine_names_the_full_disk(command: Command, small_disk: Disk) -> None:
    element(command, "echo done > done")
    small = on(command, small_disk("nr_inodes=3"))
    outcome = small("build", *WANTED, variables={"XDG_CACHE_HOME": str(command.store.with_name("cache"))})
    assert outcome.status == 1
    assert "the disk that holds the store is full" in said(outcome)


def test_a_store_that_knows_no_upper_and_lower_case_says_so(command: Command, place: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    image, folder = place / "image", place / "small"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(64 << 20)
    made = subprocess.run(["mkfs.ext4", "-q", "-O", "casefold", "-E", "encoding=utf8", image], capture_output=True)
    if made.returncode or subprocess.run(["mount", "-o", "loop", image, folder], capture_output=True).returncode:
        pytest.skip("no file system here folds case")
    try:
        (folder / "store").mkdir()
        subprocess.run(["chattr", "+F", folder / "store"], check=True)
        element(command, "echo done > done")
        outcome = on(command, folder)("build", *WANTED)
        assert outcome.status == 1
        assert "upper and lower case" in said(outcome)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
