"""The state of repositories, asked from a real HTTP server on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from blockdev.core.errors import BuildError, UsageError
from stages.repositories import state as repositories
from stages.repositories.download import Patience
from stages.repositories.state import Repository, from_environment, newest_date, remember, states
from tests.mirrors.faulty import Fault, FaultyMirror, refusing, serving

RELEASE = "Origin: Test\nDate: Sat, 12 Sep 2026 07:55:41 UTC\nSHA256:\n"


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    folder = tmp_path / "mirror"
    suite = folder / "dists/trixie"
    suite.mkdir(parents=True)
    (suite / "InRelease").write_text(RELEASE)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()


def test_sources_are_read_from_the_environment() -> None:
    conf = """default:deb http://m/debian trixie main
updates:deb [signed-by=/k] http://m/debian/ trixie-updates main

security:deb http://m/s trixie-security main
again:deb http://m/debian trixie contrib
flat:deb http://m/flat ./
"""
    assert from_environment({"DIB_APT_SOURCES_CONF": conf}) == (
        Repository("default", "http://m/debian/dists/trixie/InRelease"),
        Repository("updates", "http://m/debian/dists/trixie-updates/InRelease"),
        Repository("security", "http://m/s/dists/trixie-security/InRelease"),
        Repository("flat", "http://m/flat/InRelease"),
    )
    plain = {"DIB_DISTRIBUTION_MIRROR": "http://m/u", "DIB_RELEASE": "noble", "DISTRO_NAME": "ubuntu"}
    assert from_environment(plain) == (Repository("default", "http://m/u/dists/noble/InRelease"),)
    assert from_environment({"DISTRO_NAME": "tiny"}) == ()


def test_a_mirror_that_stands_still_has_one_state_and_one_that_moves_another(
    mirror: tuple[str, Path], tmp_path: Path
) -> None:
    address, folder = mirror
    repository = Repository("default", f"{address}/dists/trixie/InRelease")
    first = states([repository], tmp_path, offline=False)
    assert first == states([repository], tmp_path, offline=False)
    assert newest_date(first) == 1789199741
    (folder / "dists/trixie/InRelease").write_text(RELEASE + "moved\n")
    moved = states([repository], tmp_path, offline=False)
    assert moved[0].digest != first[0].digest
    remember(moved, tmp_path)
    assert states([repository], tmp_path, offline=True) == moved, "offline takes what was last built from"


def test_offline_without_a_record_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BuildError) as caught:
        states([Repository("default", "http://127.0.0.1:9/InRelease")], tmp_path, offline=True)
    assert "never recorded" in caught.value.what
    assert caught.value.hint == "build once without --offline"


def test_a_missing_suite_and_a_dead_mirror_are_named(
    mirror: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, _ = mirror
    with pytest.raises(BuildError, match="404") as caught:
        states([Repository("default", f"{address}/dists/tricksy/InRelease")], tmp_path, offline=False)
    assert caught.value.where.endswith("/dists/tricksy/InRelease")
    monkeypatch.setattr(repositories, "ATTEMPTS", 1)
    with pytest.raises(BuildError, match="does not answer"):
        states([Repository("default", "http://127.0.0.1:9/InRelease")], tmp_path, offline=False)


def test_a_build_without_repositories_has_the_oldest_date_that_all_formats_hold() -> None:
    assert newest_date(()) == 315532800


def test_other_repositories_than_apts_are_named_by_their_index() -> None:
    text = "fedora metalink=http://m/metalink?repo=f\n\nupdates http://m/u/repodata/repomd.xml\n"
    found = from_environment({"DIB_CTR_REPOSITORIES": text})
    assert [(each.name, each.index) for each in found] == [
        ("fedora", "metalink=http://m/metalink?repo=f"),
        ("updates", "http://m/u/repodata/repomd.xml"),
    ]
    with pytest.raises(UsageError, match="names no package repository"):
        from_environment({"DIB_CTR_REPOSITORIES": "fedora"})


def test_a_mirrorlist_without_a_mirror_is_told(mirror: tuple[str, Path], tmp_path: Path) -> None:
    address, folder = mirror
    (folder / "mirrorlist").write_text("no mirror for this release\n")
    with pytest.raises(BuildError, match="no mirror for this release"):
        states([Repository("b", f"mirrorlist={address}/mirrorlist x")], tmp_path, offline=False)


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[FaultyMirror]:
    folder = tmp_path / "served"
    (folder / "dists/trixie").mkdir(parents=True)
    (folder / "dists/trixie/InRelease").write_text(RELEASE + "x" * 4000)
    with serving(folder) as served:
        yield served


def index_of_faulty(mirror: FaultyMirror) -> Repository:
    return Repository("default", f"{mirror.address}/dists/trixie/InRelease")


@pytest.mark.parametrize(
    "fault",
    [Fault("", "status", 503), Fault("", "drop"), Fault("", "cut", 100), Fault("", "instead", content=b"<HTML>log in")],
    ids=lambda fault: fault.kind,
)
def test_a_mirror_that_fails_once_is_asked_again_and_one_that_goes_on_failing_is_named(
    faulty: FaultyMirror, tmp_path: Path, fault: Fault
) -> None:
    good = states([index_of_faulty(faulty)], tmp_path, offline=False)
    fault.times = 1
    with faulty.failing(fault):
        assert states([index_of_faulty(faulty)], tmp_path, offline=False) == good
    fault.times, fault.met = -1, 0
    with faulty.failing(fault), pytest.raises(BuildError, match="does not answer") as caught:
        states([index_of_faulty(faulty)], tmp_path, offline=False)
    assert fault.met == repositories.ATTEMPTS
    assert caught.value.where.startswith(faulty.address)
    assert not list(tmp_path.glob("*.json")), "nothing is recorded that no build has installed from"


@pytest.mark.parametrize("kind", ["hang", "trickle"])
def test_waiting_for_a_mirror_has_an_end(
    faulty: FaultyMirror, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repositories, "ATTEMPTS", 1)
    with faulty.failing(Fault("", kind)), pytest.raises(BuildError, match=r"timed out|less than 1000 bytes a second"):
        states([index_of_faulty(faulty)], tmp_path, offline=False, patience=Patience(timeout=1.0))


def test_nobody_at_the_address(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="refused"):
        states([Repository("default", f"{refusing()}/InRelease")], tmp_path, offline=False)


def test_an_unmoved_index_is_not_sent_again(faulty: FaultyMirror, tmp_path: Path) -> None:
    """With the ETag of what was built from; a server that does not know it sends all."""
    good = states([index_of_faulty(faulty)], tmp_path, offline=False)
    assert good[0].etag
    remember(good, tmp_path)
    with faulty.failing(Fault("", "status", 304)):
        assert states([index_of_faulty(faulty)], tmp_path, offline=False) == good


def test_patience_is_a_number_of_the_user() -> None:
    assert Patience.of({}) == Patience(30.0, 1000.0)
    assert Patience.of({"DIB_MIRROR_TIMEOUT": "5", "DIB_MIRROR_MIN_RATE": ""}) == Patience(5.0, 1000.0)
    with pytest.raises(UsageError, match="DIB_MIRROR_TIMEOUT is 'soon'"):
        Patience.of({"DIB_MIRROR_TIMEOUT": "soon"})
