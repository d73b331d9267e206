"""Words that stand for names in an XFS directory until it is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockdev.filesystems.xfs_attributes import access_list
from blockdev.filesystems.xfs_names import is_word, name_hash, same_length, stand_in

NAMES = st.binary(min_size=1, max_size=60).map(lambda name: name.replace(b"/", b"_").replace(b"\0", b" "))


@pytest.mark.parametrize(
    ("name", "value"),  # as xfs_db's "hash" has them
    [
        (b".", 0x2E),
        (b"..", 0x172E),
        (b"a", 0x61),
        (b"long", 0x0D9BF767),
        (b"again", 0x1CF874E8),
        (b"short", 0x3D1BF973),
    ],
)
def test_hash(name: bytes, value: int) -> None:
    """Some that were looked up."""
    assert name_hash(name) == value


def possible(name: bytes) -> int:
    """How many words come of a name by turning the lowest bit of some bytes, each with the highest of the next."""
    ways = {0: 1}  # by whether the highest bit of the byte that comes is turned
    for place, byte in enumerate(name):
        following: dict[int, int] = {}
        for high, count in ways.items():
            for low in (0, 1) if place + 1 < len(name) else (0,):
                # Between two letters (or before one, where the name begins) only the byte itself counts.
                if is_word((b"" if place == 0 else b"a") + bytes([byte ^ low ^ high << 7]) + b"a"):
                    following[low] = following.get(low, 0) + count
        ways = following
    return sum(ways.values())


@given(NAMES, st.sets(NAMES, max_size=5))
def test_stand_in_is_a_word_with_the_same_hash(name: bytes, others: set[bytes]) -> None:
    """Whatever the name; none only where none of all that turning bits in pairs can make will do."""
    found = stand_in(name, others)
    if found is None:
        assert len(name) < 3 or possible(name) <= len(others)
        return
    assert is_word(found)
    assert found not in others
    assert len(found) == len(name)
    assert name_hash(found) == name_hash(name)


@given(st.integers(0, 4))
def test_stand_in_avoids_what_is_taken(taken_count: int) -> None:
    """Ever another one."""
    taken: set[bytes] = set()
    for _ in range(taken_count + 1):
        found = stand_in(b"launcher manifest.xml", taken)
        assert found is not None
        assert found not in taken
        taken.add(found)


@pytest.mark.parametrize("word", [b"a", b"-dash", b"#", b"a:b", b"$a", b"\xff", b"back\\slash", b"'"])
def test_words(word: bytes) -> None:
    """They can stay."""
    assert is_word(word)


@pytest.mark.parametrize("name", [b"", b" ", b"$", b":", b":a", b"a b", b"a\n", b'a"b', b"a/b", b"a\x0bb"])
def test_not_words(name: bytes) -> None:
    """They cannot."""
    assert not is_word(name)


@given(st.binary(min_size=1, max_size=80))
def test_same_length(text: bytes) -> None:
    """A target of as many bytes without white space."""
    made = same_length(text)
    assert len(made) == len(text)
    assert is_word(made.replace(b"/", b"_"))


def test_access_list() -> None:
    """Big-endian, in other places, and without the ids of entries that are for nobody in particular."""
    linux = bytes.fromhex("02000000 01000700ffffffff 0200050021000000")
    assert access_list(linux) == bytes.fromhex("00000002 00000001 00000000 0007 0000 00000002 00000021 0005 0000")
