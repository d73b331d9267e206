"""Hash trees without a tool: what they take and what is refused; tests/integration compares them with veritysetup."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockdev.core.errors import BuildError
from blockdev.filesystems.region import Region
from blockdev.volumes import verity

MIB = 1 << 20


@pytest.mark.parametrize(
    ("blocks", "taken"),  # as veritysetup says and writes it
    [(1, 1), (2, 2), (128, 2), (129, 4), (16384, 130), (16385, 133)],
)
def test_size(blocks: int, taken: int) -> None:
    """The superblock and each level's blocks of 128 digests; a single block needs no level."""
    assert verity.hash_size(blocks * 4096) == taken * 4096


@given(st.integers(1, 1 << 44))
def test_tree_is_a_little_less_than_a_127th(length: int) -> None:
    """Whatever the length: at least a digest for each block, and never much more."""
    blocks = -(-length // 4096)
    taken = verity.hash_size(length)
    assert taken % 4096 == 0
    assert (blocks * 32 if blocks > 1 else 0) <= taken - 4096 <= (blocks / 127 + 8) * 4096


@given(st.integers(1, 1 << 40), st.sampled_from(verity.ALGORITHMS), st.sampled_from([512, 1024, 2048, 4096]))
def test_more_data_never_take_less(length: int, algorithm: str, block_size: int) -> None:
    """One block more takes at most one more in each level, of which a small block has many."""
    before = verity.hash_size(length, block_size, algorithm)
    digests = block_size // (1 << (hashlib.new(algorithm).digest_size - 1).bit_length())  # in a block
    levels, blocks = 0, -(-length // block_size) + 1
    while blocks > 1:
        levels, blocks = levels + 1, -(-blocks // digests)
    assert before <= verity.hash_size(length + block_size, block_size, algorithm) <= before + levels * block_size


def test_root_of_one_block_is_its_own_digest(tmp_path: Path) -> None:
    """The salt goes before it."""
    data, hashes = Region(tmp_path / "data", 4096, 4096), Region(tmp_path / "hashes", 512, 4096)
    data.image.write_bytes(bytes(4096) + b"x" * 4096)
    root = verity.format(data, hashes, seed="s")
    superblock = hashes.image.read_bytes()[512:]
    assert len(superblock) == 4096
    salt = superblock[88 : 88 + int.from_bytes(superblock[80:82], "little")]
    assert len(salt) == 32
    assert hashlib.sha256(salt + b"x" * 4096).hexdigest() == root


@pytest.mark.parametrize(
    ("length", "room", "options", "said"),
    [
        (MIB, 12287, {}, "the hash tree takes 16384 bytes, and there is room for 12287"),
        (5000, MIB, {}, "has 5000 bytes, which are no whole blocks of 4096"),
        (0, MIB, {}, "has 0 bytes"),
        (MIB, MIB, {"algorithm": "crc32"}, "there is no hash 'crc32' for dm-verity"),
        (MIB, MIB, {"block_size": 100}, "dm-verity has no blocks of 100 bytes"),
    ],
)
def test_refused(tmp_path: Path, length: int, room: int, options: dict[str, object], said: str) -> None:
    """Before anything is written."""
    (tmp_path / "data").write_bytes(bytes(length))
    hashes = Region(tmp_path / "hashes", 0, room)
    with pytest.raises(BuildError) as caught:
        verity.format(Region(tmp_path / "data", 0, length), hashes, seed="", **options)  # type: ignore[arg-type]
    assert said in str(caught.value)
    assert caught.value.hint
    assert not hashes.image.exists()


def test_old_hashes_are_not_overwritten(tmp_path: Path) -> None:
    """A second tree in one place would be a mix of both."""
    data, hashes = Region(tmp_path / "image", 0, MIB), Region(tmp_path / "image", MIB, MIB)
    data.image.write_bytes(b"x" * MIB)
    verity.format(data, hashes, seed="s")
    with pytest.raises(BuildError, match="not blank"):
        verity.format(data, hashes, seed="s")
