"""Snapshots: times and schemes as they are given, and repositories that are read from them."""

from __future__ import annotations

import pytest

from blockdev.core.errors import UsageError
from stages.repositories import snapshot
from stages.repositories.state import Repository


@pytest.mark.parametrize(
    ("given_", "stamp"),
    [
        ("20261101T000000Z", "20261101T000000Z"),
        ("2026-11-01", "20261101T000000Z"),
        ("2026-11-01T12:30:00+02:00", "20261101T103000Z"),
        ("20261101", "20261101T000000Z"),
    ],
)
def test_times_of_snapshots(given_: str, stamp: str) -> None:
    assert snapshot.timestamp(given_) == stamp


@pytest.mark.parametrize("wrong", ["yesterday", "2026-13-01", "20261101T000000X", "9999-01-01", ""])
def test_what_is_no_time_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError):
        snapshot.timestamp(wrong)


@pytest.mark.parametrize("wrong", ["http://h/debian", "{timestamp}", "h/{timestamp}"])
def test_what_is_no_scheme_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match="does not say where snapshots are"):
        snapshot.check_scheme(wrong)


def test_repositories_are_read_from_their_snapshots() -> None:
    index = "http://h/debian-security/dists/trixie-security/InRelease"
    flat = Repository("flat", "http://h/flat/InRelease")
    (found, same) = snapshot.at(
        [Repository("security", index), flat], "20261101T000000Z", "http://s/archive/{archive}/{timestamp}/"
    )
    assert found.source == "http://s/archive/debian-security/20261101T000000Z/dists/trixie-security/InRelease"
    assert found.index == index
    assert same == flat
    assert snapshot.replacements([found, same]) == (
        "http://h/debian-security http://s/archive/debian-security/20261101T000000Z\n"
    )
    with pytest.raises(UsageError) as refused:
        snapshot.at([Repository("security", index)], "20261101T000000Z", "", offline=True)
    assert "DIB_CTR_SNAPSHOT_URL=" in refused.value.hint
