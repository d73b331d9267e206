"""Locks: what was used is told, and built from again when the mirror has moved, or named where it is gone."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from pathlib import Path

import pytest

from qemu.architecture import native
from tests.integration.aptmirror import SUITE, AptMirror
from tests.integration.command import Command, script, write_element
from tests.integration.locks.locked import LATER, WHAT, empty, move, other_store, started, used, without_network


def test_a_lock_says_what_was_used_and_is_the_same_from_the_cache_and_without(
    command: Command, mirror: AptMirror, place: Path
) -> None:
    first = command.build("--lock", str(place / "a.json"), *WHAT)
    again = command.build("--lock", str(place / "b.json"), *WHAT)
    assert started(first) and not started(again)
    fresh = other_store(command, "fresh").build("--lock", str(place / "c.json"), *WHAT)
    assert (place / "a.json").read_bytes() == (place / "b.json").read_bytes() == (place / "c.json").read_bytes()
    assert first.digest() == fresh.digest()
    document = json.loads((place / "a.json").read_text())
    assert document["version"] == 1
    assert document["elements"] == ["small-debian"]
    assert document["packages"] == ["extra"]
    lock = used(place / "a.json")
    index = mirror.archive / "dists" / SUITE / "InRelease"
    assert lock["repositories"] == [
        {
            "index": mirror.index,
            "digest": hashlib.sha256(index.read_bytes()).hexdigest(),
            "date": 1789199741,
            "lists": [f"main/binary-{native()}/Packages"],
        }
    ]
    assert lock["epoch"] == 1789199741
    assert [(package["name"], package["version"]) for package in lock["packages"]] == [
        ("base", "1.0"),
        ("extra", "1.0"),
    ]
    for package in lock["packages"]:
        file = mirror.archive / package["file"]
        assert package["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert package["bytes"] == file.stat().st_size
        assert package["repository"] == mirror.index
        assert package["architecture"] == native()


@pytest.mark.thorough("minutes of builds")
def test_a_package_that_went_again_in_the_same_stage_is_in_the_lock(command: Command, place: Path) -> None:
    files = {"install.d/20-for-a-while": script("install-packages extra", "install-packages -e extra")}
    write_element(place / "elements", "for-a-while", files)
    command.build("--lock", str(place / "lock.json"), "small-debian", "for-a-while")
    assert [package["name"] for package in used(place / "lock.json")["packages"]] == ["base", "extra"]


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_when_the_mirror_has_moved_a_lock_gives_the_same_image_from_the_store(
    command: Command, mirror: AptMirror, place: Path
) -> None:
    lock = str(place / "lock.json")
    first = command.build("--lock", lock, *WHAT)
    move(mirror)
    assert command.build(*WHAT).digest() != first.digest()
    mirror.asked.clear()
    locked = command.build("--locked", lock, *WHAT)
    assert not started(locked), "the keys are those of the build that was locked"
    afresh = command.build("--locked", lock, "--no-cache", "--lock", str(place / "again.json"), *WHAT)
    assert len(started(afresh)) == len(afresh.events[0]["stages"])
    assert afresh.digest() == first.digest() == locked.digest()
    assert mirror.asked == []
    assert (place / "again.json").read_bytes() == Path(lock).read_bytes()


@pytest.mark.thorough("minutes of builds")
def test_what_is_gone_is_named_before_any_work(command: Command, mirror: AptMirror, place: Path) -> None:
    lock = str(place / "lock.json")
    command.build("--lock", lock, *WHAT)
    move(mirror)
    empty(command.store / "cache")
    gone = command("build", "--locked", lock, "--no-cache", *WHAT)
    assert gone.status == 1
    assert started(gone) == []
    assert f"the package extra 1.0 ({native()})" in gone.stderr
    assert "the package base" not in gone.stderr, "the mirror still has it"
    assert "--snapshot" in gone.stderr
    assert "--vendor" in gone.stderr
    assert not (place / "new.json").exists()
    empty(command.store)
    gone = command("build", "--locked", lock, "--lock", str(place / "new.json"), *WHAT)
    assert gone.status == 1
    assert started(gone) == []
    dates = "of 2026-09-12 07:55:41 UTC: it is of 2026-11-05 10:00:00 UTC now"
    assert f"the repository {mirror.index} {dates}" in gone.stderr
    assert f"the package extra 1.0 ({native()})" in gone.stderr
    assert not (place / "new.json").exists()


@pytest.mark.thorough("minutes of builds")
def test_with_a_mirror_that_stands_still_an_empty_store_is_no_hindrance(command: Command, place: Path) -> None:
    lock = str(place / "lock.json")
    first = command.build("--lock", lock, *WHAT)
    elsewhere = other_store(command, "elsewhere").build("--locked", lock, *WHAT)
    assert elsewhere.digest() == first.digest()


def test_what_was_vendored_builds_without_a_network_on_a_machine_that_has_nothing(
    command: Command, mirror: AptMirror, place: Path
) -> None:
    vendor = place / "vendor"
    vendor.mkdir()
    (vendor / "notes").write_text("mine\n")
    first = command.build("--vendor", str(vendor), "--lock", str(place / "lock.json"), *WHAT)
    assert (vendor / "lock.json").read_bytes() == (place / "lock.json").read_bytes()
    assert (vendor / "notes").read_text() == "mine\n"
    lock = used(vendor / "lock.json")
    names = {f"packages/{package['name']}_1.0_{native()}.deb" for package in lock["packages"]}
    digest = lock["repositories"][0]["digest"]
    lists = {f"lists/{digest}/InRelease", f"lists/{digest}/main_binary-{native()}_Packages.gz"}
    here = {str(file.relative_to(vendor)) for file in vendor.rglob("*") if file.is_file()}
    assert here == {*names, *lists, "lock.json", "notes"}
    move(mirror)
    elsewhere = other_store(command, "elsewhere")
    built = without_network(elsewhere, "build", "--locked", str(vendor / "lock.json"), *WHAT)
    assert built.status == 0, built.stderr
    assert len(started(built)) > 5
    assert built.digest() == first.digest()
    offline = other_store(command, "offline").build("--offline", "--locked", str(vendor / "lock.json"), *WHAT)
    assert offline.digest() == first.digest()
    assert mirror.asked == []


@pytest.mark.thorough("minutes of builds")
def test_what_is_vendored_already_is_not_copied_again(command: Command, place: Path) -> None:
    vendor = place / "vendor"
    command.build("--vendor", str(vendor), *WHAT)
    package, index = vendor / f"packages/extra_1.0_{native()}.deb", next(vendor.glob("lists/*/InRelease"))
    kept = {file: file.stat().st_ino for file in vendor.rglob("*") if file.is_file() and file.name != "lock.json"}
    wrong = vendor / f"packages/base_1.0_{native()}.deb"
    right = wrong.read_bytes()
    wrong.write_bytes(right[:-1])
    command.build("--vendor", str(vendor), *WHAT)
    assert wrong.read_bytes() == right
    assert {file: file.stat().st_ino for file in kept if file != wrong} == {
        file: inode for file, inode in kept.items() if file != wrong
    }
    assert {package, index} < set(kept)


def _same_size(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def _another_list(file: Path) -> None:
    file.write_bytes(gzip.compress(gzip.decompress(file.read_bytes()) + b"\n"))


TAMPERED = {
    "packages/extra_*.deb": _same_size,
    "lists/*/InRelease": _same_size,
    "lists/*/*_Packages.gz": _another_list,
}


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_a_vendored_file_that_was_tampered_with_is_refused(command: Command, place: Path) -> None:
    vendor = place / "vendor"
    command.build("--vendor", str(vendor), *WHAT)
    elsewhere = other_store(command, "elsewhere")
    for pattern, tamper in TAMPERED.items():
        file = next(vendor.glob(pattern))
        right = file.read_bytes()
        tamper(file)
        refused = elsewhere("build", "--locked", str(vendor / "lock.json"), *WHAT)
        assert refused.status == 2, pattern
        assert f"{file} is not what the lock says" in refused.stderr
        assert refused.events == []
        file.write_bytes(right)


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_lists_that_the_archive_has_not_signed_are_refused_whatever_the_lock_says(
    command: Command, mirror: AptMirror, place: Path
) -> None:
    vendor = place / "vendor"
    command.build("--vendor", str(vendor), *WHAT)
    index = next(vendor.glob("lists/*/InRelease"))
    index.write_bytes(index.read_bytes().replace(b"Origin: Tests", b"Origin: Other"))
    digest = hashlib.sha256(index.read_bytes()).hexdigest()
    lock = (vendor / "lock.json").read_text().replace(index.parent.name, digest)
    (vendor / "lock.json").write_text(lock)
    index.parent.rename(index.parent.with_name(digest))
    forged = other_store(command, "elsewhere")("build", "--locked", str(vendor / "lock.json"), *WHAT)
    assert forged.status == 1
    assert "root/debootstrap/08-debootstrap failed" in forged.stderr
    assert "BADSIG" in forged.stdout or "signature" in forged.stdout


@pytest.mark.thorough("more builds; `just test` has the rest of this file")
def test_a_package_of_the_cache_that_was_tampered_with_is_not_installed(
    command: Command, mirror: AptMirror, place: Path
) -> None:
    lock = str(place / "lock.json")
    first = command.build("--lock", lock, *WHAT)
    cached = next((command.store / "cache/apt" / native()).glob("*-extra_*"))
    _same_size(cached)
    assert command.build("--locked", lock, "--no-cache", *WHAT).digest() == first.digest()
    _same_size(cached)
    move(mirror)
    gone = command("build", "--locked", lock, "--no-cache", *WHAT)
    assert gone.status == 1
    assert f"the package extra 1.0 ({native()})" in gone.stderr


def test_a_request_that_is_not_the_locked_one_is_refused(command: Command, place: Path) -> None:
    lock = str(place / "lock.json")
    write_element(place / "elements", "more", {"install.d/20-more": script("echo more > /etc/more")})
    command.build("--lock", lock, "--set", "DIB_COLOUR=red", *WHAT)
    refused = command("build", "--locked", lock, "--release", "sid", "-p", "other", "small-debian", "more")
    assert refused.status == 2
    assert refused.events == []
    for phrase in (
        "the element more is asked for now",
        "the package other is asked for now",
        "the package extra is not asked for now",
        "DIB_COLOUR is not set, and was 'red'",
        "DIB_RELEASE is 'sid', and was not set",
    ):
        assert phrase in refused.stderr
    foreign = "arm64" if native() == "amd64" else "amd64"
    refused = command("plan", "--locked", lock, "--set", "DIB_COLOUR=red", "--arch", foreign, *WHAT)
    assert refused.status == 2
    assert f"the architecture is {foreign}, and was {native()}" in refused.stderr


@pytest.mark.thorough("minutes of builds")
def test_an_element_that_installs_something_else_now_fails_the_locked_build(
    command: Command, mirror: AptMirror, place: Path
) -> None:
    lock = str(place / "lock.json")
    write_element(place / "elements", "more", {"install.d/20-more": script("echo more > /etc/more")})
    command.build("--lock", lock, "small-debian", "more")
    write_element(place / "elements", "more", {"install.d/20-more": script("install-packages extra")})
    failed = command("build", "--locked", lock, "small-debian", "more")
    assert failed.status == 1
    assert f"extra 1.0 ({native()}) is not in the lock" in failed.stderr
    assert "output" not in {event["type"] for event in failed.events}


@pytest.mark.thorough("minutes of builds")
def test_package_sources_that_an_element_adds_are_locked_too(command: Command, mirror: AptMirror, place: Path) -> None:
    archive, mirror.archive = mirror.archive, mirror.folder / "second"
    mirror.package("third", "1.0")
    mirror.publish("Wed, 16 Sep 2026 00:00:00 UTC")
    line = f"deb [signed-by=/etc/apt/keyrings/mirror.gpg] {mirror.root}/second {SUITE} main"
    files = {
        "pre-install.d/20-second": script(f"echo '{line}' > /etc/apt/sources.list.d/second.list"),
        "install.d/20-third": script("install-packages third"),
    }
    write_element(place / "elements", "second", files)
    vendor = place / "vendor"
    first = command.build("--vendor", str(vendor), "small-debian", "second")
    assert [repository["index"] for repository in used(vendor / "lock.json")["repositories"]] == [
        mirror.index,
        f"{mirror.root}/second/dists/{SUITE}/InRelease",
    ]
    mirror.package("third", "2.0")
    mirror.publish(LATER)
    mirror.archive = archive
    move(mirror)
    elsewhere = other_store(command, "elsewhere")
    built = without_network(elsewhere, "build", "--locked", str(vendor / "lock.json"), "small-debian", "second")
    assert built.status == 0, built.stderr
    assert built.digest() == first.digest()


# -- the real thing -------------------------------------------------------------------------------------------------


@pytest.mark.thorough("debian-minimal twice over; `just test` vendors a small tree")
@pytest.mark.slow
def test_debian_minimal_is_vendored_and_built_without_a_network(place: Path) -> None:
    command = Command("host", place / "store", place / "out")
    vendor = place / "vendor"
    what = ("-p", "hello", "debian-minimal")
    first = command.build("--vendor", str(vendor), *what)
    lock = used(vendor / "lock.json")
    versions = {package["name"]: package["version"] for package in lock["packages"]}
    assert {"apt", "dpkg", "libc6", "hello"} <= set(versions)
    assert all(package["sha256"] and package["file"] for package in lock["packages"])
    assert len(list(vendor.glob("packages/*.deb"))) == len(lock["packages"])
    assert command("cache", "prune", "--all").status == 0
    shutil.rmtree(command.destination)
    built = without_network(command, "build", "--locked", str(vendor / "lock.json"), *what)
    assert built.status == 0, built.stderr
    assert "hit" not in {event["type"] for event in built.events}
    assert built.digest() == first.digest()
