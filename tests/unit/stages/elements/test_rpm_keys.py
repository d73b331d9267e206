"""Which files of keys a build with RPM packages takes: the script ``rpm-keys`` of the element ``rpm``."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[4] / "stages/elements/rpm/bin/rpm-keys"
FEDORA = "RPM-GPG-KEY-fedora-{}-primary"


def keys(folder: Path, *patterns: str) -> list[str]:
    """The names that the script answers, in its order."""
    command = ["bash", str(SCRIPT), *(f"{folder}/{pattern}" for pattern in patterns)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [Path(line).name for line in done.stdout.splitlines()]


@pytest.fixture
def fedora(tmp_path: Path) -> Path:
    for release in (9, 42, 43, 44, 45, 46):
        (tmp_path / FEDORA.format(release)).write_text("key")
    (tmp_path / "RPM-GPG-KEY-fedora-44-secondary").write_text("key")
    (tmp_path / FEDORA.format("iot")).write_text("key")
    (tmp_path / FEDORA.format("rawhide")).symlink_to(FEDORA.format(45))
    return tmp_path


def test_rawhide_is_the_release_before_its_own_and_all_later_ones(fedora: Path) -> None:
    """As others that build from it take them: it moves to the next key before the link does."""
    assert keys(fedora, FEDORA.format("rawhide")) == [FEDORA.format(release) for release in (44, 45, 46)]


def test_a_release_has_its_own_key(fedora: Path) -> None:
    assert keys(fedora, FEDORA.format(44)) == [FEDORA.format(44)]


def test_rawhide_that_leads_to_no_number_is_itself(tmp_path: Path) -> None:
    (tmp_path / "next").write_text("key")
    (tmp_path / FEDORA.format("rawhide")).symlink_to("next")
    assert keys(tmp_path, FEDORA.format("rawhide")) == [FEDORA.format("rawhide")]


def test_patterns(fedora: Path) -> None:
    assert keys(fedora, "*-42-*", "*-44-*") == [
        FEDORA.format(42),
        FEDORA.format(44),
        "RPM-GPG-KEY-fedora-44-secondary",
    ]


def test_a_key_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = subprocess.run(["bash", str(SCRIPT), f"{tmp_path}/none"], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"The key {tmp_path}/none is not there; set DIB_RPM_KEYS" in done.stderr
