"""Snapshots: the image of a time, also where the mirror has moved."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.integration.aptmirror import SUITE, AptMirror
from tests.integration.command import Command
from tests.integration.locks.locked import LATER, WHAT, move, other_store, used


def sources_of(archive: Path) -> str:
    with tarfile.open(archive) as tar:
        name = next(name for name in tar.getnames() if name.endswith("etc/apt/sources.list.d/default.list"))
        data = tar.extractfile(name)
        assert data is not None
        return data.read().decode()


@pytest.mark.thorough("minutes of builds")
def test_a_snapshot_gives_the_image_of_its_time(command: Command, mirror: AptMirror, place: Path) -> None:
    mirror.publish("Sat, 12 Sep 2026 07:55:41 UTC", more="Valid-Until: Sat, 19 Sep 2026 07:55:41 UTC\n")
    fresh = {"DIB_CTR_APT_OPTIONS": 'Acquire::Check-Valid-Until "false";'}
    outputs = ("-o", "oci", "-o", "tar")
    first = command.build(*outputs, *WHAT, variables=fresh)
    sources = sources_of(place / "out/small-debian.tar")
    mirror.keep_snapshot("20260912T000000Z")
    move(mirror)
    service = {"DIB_CTR_SNAPSHOT_URL": f"{mirror.root}/archive/{{archive}}/{{timestamp}}"}
    elsewhere = other_store(command, "elsewhere")
    past = elsewhere.build(*outputs, "--snapshot", "2026-09-12", *WHAT, variables=service)
    assert past.digest() == first.digest()
    assert past.digest("tar") == first.digest("tar")
    assert sources_of(elsewhere.destination / "small-debian.tar") == sources
    assert f"{mirror.root}/debian {SUITE} main" in sources
    assert {path.split("/")[1] for path in mirror.asked} == {"archive"}


@pytest.mark.thorough("minutes of builds")
def test_a_lock_and_a_snapshot_bring_back_what_is_gone(command: Command, mirror: AptMirror, place: Path) -> None:
    lock = str(place / "lock.json")
    first = command.build("--lock", lock, *WHAT)
    mirror.keep_snapshot("20260912T120000Z")
    move(mirror)
    service = {"DIB_CTR_SNAPSHOT_URL": f"{mirror.root}/archive/{{archive}}/{{timestamp}}"}
    elsewhere = other_store(command, "elsewhere")
    locked = ("--locked", lock, "--snapshot", "20260912T120000Z", *WHAT)
    assert elsewhere.build(*locked, variables=service).digest() == first.digest()


@pytest.mark.thorough("minutes of builds")
def test_a_lock_of_a_snapshot_remembers_it(command: Command, mirror: AptMirror, place: Path) -> None:
    mirror.keep_snapshot("20260912T000000Z")
    move(mirror)
    service = {"DIB_CTR_SNAPSHOT_URL": f"{mirror.root}/archive/{{archive}}/{{timestamp}}"}
    lock = place / "lock.json"
    past = command.build("--snapshot", "2026-09-12", "--lock", str(lock), *WHAT, variables=service)
    assert used(lock)["snapshot"] == "20260912T000000Z"
    assert used(lock)["repositories"][0]["index"] == mirror.index
    elsewhere = other_store(command, "elsewhere").build("--locked", str(lock), *WHAT, variables=service)
    assert elsewhere.digest() == past.digest()


@pytest.mark.thorough("minutes of builds")
def test_an_archive_that_names_its_own_snapshots_needs_no_setting(
    command: Command, mirror: AptMirror, place: Path
) -> None:
    first = command.build(*WHAT)
    mirror.keep_snapshot("20260912T000000Z")
    missing = command("plan", "--snapshot", "2026-09-12", *WHAT)
    assert missing.status == 2
    assert "DIB_CTR_SNAPSHOT_URL=" in missing.stderr
    mirror.package("extra", "2.0")
    mirror.publish(LATER, more=f"Snapshots: {mirror.root}/archive/debian/@SNAPSHOTID@/\n")
    elsewhere = other_store(command, "elsewhere")
    assert elsewhere.build("--snapshot", "2026-09-12", *WHAT).digest() == first.digest()
