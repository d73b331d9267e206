"""Places in directories: shortened, and found again."""

from __future__ import annotations

import struct

import pytest

from stages.sandbox.seccomp import dirent_offsets


def entry(name: bytes, place: int) -> bytes:
    length = (19 + len(name) + 1 + 7) // 8 * 8
    return (struct.pack("=QqHB", 7, place, length, 8) + name).ljust(length, b"\0")


def test_entries_stay_as_they_are_but_for_their_places() -> None:
    places = (1, 0x6FFFFFFF, 0x70000000, 0x123456789ABCDEF0, 2**63 - 1)
    names = (b".", b"..", b"a", b"a longer name", b"last")
    found = dirent_offsets.shortened(b"".join(map(entry, names, places)))
    assert found == b"".join(map(entry, names, map(dirent_offsets.short, places)))
    assert dirent_offsets.shortened(b"") == b""


@pytest.mark.parametrize("place", [2**35, 0x123456789ABCDEF0, 2**63 - 2**35 - 1, 2**63 - 1])
def test_a_long_place_is_found_again_by_its_upper_bits(place: int) -> None:
    short = dirent_offsets.short(place)
    assert dirent_offsets.LOWEST <= short <= dirent_offsets.HIGHEST
    assert dirent_offsets.long(short) >> 35 == place >> 35
    assert dirent_offsets.short(dirent_offsets.long(short)) == short


def test_the_end_stays_the_end() -> None:
    assert dirent_offsets.long(dirent_offsets.short(2**63 - 1)) == 2**63 - 1


def test_order_is_kept() -> None:
    places = sorted({*range(0, 2**63, 2**55 + 12345), 2**63 - 1})
    assert [dirent_offsets.short(place) for place in places[1:]] == sorted(
        dirent_offsets.short(place) for place in places[1:]
    )
