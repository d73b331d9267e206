"""A break command that copies something out of a failed build to a folder of the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.command import ELEMENTS, script, write_element


@pytest.fixture
def here(place: Path) -> Path:
    """A folder with an element that fails, and a folder to copy to."""
    (place / "dest").mkdir()
    fails = script('mkdir -p "$TMP_MOUNT_PATH/tmp"; echo here > "$TMP_MOUNT_PATH/tmp/marker"; exit 1')
    write_element(place / "elements", "fails", {"post-root.d/50-fail": fails})
    return place


def fail_with(here: Path, does: str) -> str:
    """What a build says that fails and runs the command ``does``."""
    words = ["disk-image-create", "-n", "-t", "tar", "-o", str(here / "img"), "tiny-os", "fails"]
    done = subprocess.run(
        [sys.executable, "-m", "builder.cli", *words],
        env={
            **os.environ,
            "DIB_CTR_ENGINE": "host",
            "DIB_CTR_STORE": str(here / "store"),
            "ELEMENTS_PATH": f"{here / 'elements'}:{ELEMENTS}",
            "break": "after-error",
            "break_outside_target": "1",
            "break_cmd": does,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    return done.stdout


def test_what_it_copies_is_there_and_nothing_of_the_users_is_replaced(here: Path) -> None:
    does = f"cp $TMP_MOUNT_PATH/tmp/marker {here}/dest; mkdir {here}/dest/deep; echo 1 > {here}/dest/deep/file"
    fail_with(here, does)
    assert (here / "dest/marker").read_text() == "here\n"
    assert (here / "dest/deep/file").read_text() == "1\n"
    (here / "dest/marker").write_text("mine")
    said = fail_with(here, f"cp $TMP_MOUNT_PATH/tmp/marker {here}/dest")
    assert (here / "dest/marker").read_text() == "mine"
    assert f"what the break command left in {here}/dest stays there" in said


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_no_link_leads_out(here: Path) -> None:
    (here / "target").mkdir()
    fail_with(here, f"ln -s {here}/target {here}/dest/link; echo x > {here}/dest/file")
    assert list((here / "dest").iterdir()) == []
    assert list((here / "target").iterdir()) == []
