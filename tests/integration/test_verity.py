"""Hash trees beside those of veritysetup, byte for byte; no device-mapper and no privilege."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockdev.core.errors import BuildError
from blockdev.filesystems.region import Region, holds
from blockdev.volumes import verity
from tests.examples import examples
from tests.integration.engine_cases import missing

PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"
MIB = 1 << 20
AROUND = 12288  # bytes before each part of the image


@pytest.fixture(scope="module", autouse=True)
def _tool() -> None:
    if shutil.which("veritysetup", path=PATH) is None:
        missing("there is no veritysetup (package cryptsetup-bin)")


def run(*command: str | Path) -> str:
    """What a program prints, which must succeed."""
    environment = {**os.environ, "PATH": PATH, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def shown(said: str, name: str) -> str:
    """The value of a line of veritysetup."""
    found = re.search(rf"^{name}:\s*(\S+)", said, re.MULTILINE)
    assert found, said
    return found[1]


def image(path: Path, blocks: int, block_size: int, algorithm: str, pieces: list[tuple[int, int]]) -> list[Region]:
    """An image with room for data and hashes, and random bytes at (first byte, bytes) of the data."""
    room = verity.hash_size(blocks * block_size, block_size, algorithm)
    data = Region(path, AROUND, blocks * block_size)
    hashes = Region(path, 2 * AROUND + data.length, room)
    with path.open("wb") as file:
        file.truncate(hashes.offset + room + AROUND)
        for first, length in pieces:
            file.seek(data.offset + first % data.length)
            file.write(random.Random(first).randbytes(min(length, data.length - first % data.length)))
    return [data, hashes]


def taken(region: Region) -> bytes:
    """What a region holds."""
    with region.image.open("rb") as file:
        file.seek(region.offset)
        return file.read(region.length)


@settings(max_examples=examples(25), deadline=None)
@given(
    blocks=st.integers(1, 300) | st.integers(16_380, 16_390),
    kind=st.sampled_from([(4096, "sha256"), (4096, "sha512"), (512, "sha256"), (1024, "sha1"), (2048, "sha384")]),
    pieces=st.lists(st.tuples(st.integers(0, 1 << 26), st.integers(1, 100_000)), max_size=4),
)
def test_same_as_veritysetup(blocks: int, kind: tuple[int, str], pieces: list[tuple[int, int]]) -> None:
    """Superblock, every level and the root hash, over data with holes; nothing around is touched."""
    block_size, algorithm = kind
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        data, hashes = image(folder / "image", blocks, block_size, algorithm, pieces)
        root = verity.format(data, hashes, seed="seed", block_size=block_size, algorithm=algorithm)
        (folder / "data").write_bytes(taken(data))
        (folder / "ours").write_bytes(taken(hashes))
        said = run("veritysetup", "dump", folder / "ours")
        options = [f"--data-block-size={block_size}", f"--hash-block-size={block_size}", f"--hash={algorithm}"]
        options += [f"--salt={shown(said, 'Salt')}", f"--uuid={shown(said, 'UUID')}"]
        made = run("veritysetup", "format", *options, folder / "data", folder / "theirs")
        assert shown(made, "Root hash") == root
        theirs = (folder / "theirs").read_bytes()
        assert len(theirs) <= hashes.length < len(theirs) + block_size  # it cuts the last block at its last digest
        assert theirs.ljust(hashes.length, b"\0") == taken(hashes)
        verity.check(data, hashes, root)
        whole = data.image.read_bytes()
        for start in (0, data.offset + data.length, hashes.offset + hashes.length):
            assert whole[start : start + AROUND] == bytes(AROUND)


def test_twice_the_same_and_other_with_another_seed(tmp_path: Path) -> None:
    """Salt and UUID follow from the seed alone, wherever the parts are."""
    data, hashes = image(tmp_path / "one", 1000, 4096, "sha256", [(0, MIB)])
    root = verity.format(data, hashes, seed="a")
    (tmp_path / "data").write_bytes(taken(data))
    apart = Region(tmp_path / "data", 0, data.length), Region(tmp_path / "hashes", 512, hashes.length)
    assert verity.format(*apart, seed="a") == root
    assert taken(apart[1]) == taken(hashes)
    other = Region(tmp_path / "other", 0, hashes.length)
    assert verity.format(data, other, seed="b") != root
    said = run("veritysetup", "dump", tmp_path / "other")
    assert shown(said, "Salt") not in taken(hashes).hex()
    assert shown(said, "UUID").replace("-", "") not in taken(hashes).hex()


def test_one_changed_byte(tmp_path: Path) -> None:
    """Veritysetup refuses data, a tree or a root hash that is not the one it was."""
    data, hashes = image(tmp_path / "one", 1000, 4096, "sha256", [(0, MIB)])
    root = verity.format(data, hashes, seed="a")
    verity.check(data, hashes, root)
    with pytest.raises(BuildError, match="the data are not those of the hash tree"):
        verity.check(data, hashes, root[:-1] + ("0" if root[-1] != "0" else "1"))
    for place in (data.offset + 999 * 4096 + 7, hashes.offset + 3 * 4096):
        with data.image.open("r+b") as file:
            file.seek(place)
            before = file.read(1)
            file.seek(place)
            file.write(bytes([before[0] ^ 1]))
            file.flush()
            with pytest.raises(BuildError, match="the data are not those of the hash tree"):
                verity.check(data, hashes, root)
            file.seek(place)
            file.write(before)
    verity.check(data, hashes, root)


def test_data_stay_sparse(tmp_path: Path) -> None:
    """A hole is hashed without being read or filled; data from byte 0 need no copy to be checked."""
    path = tmp_path / "image"
    length = 1 << 30
    data, hashes = Region(path, 0, length), Region(path, length, verity.hash_size(length))
    with path.open("wb") as file:
        file.truncate(length + hashes.length)
        file.seek(length // 2)
        file.write(b"x" * 5000)
    root = verity.format(data, hashes, seed="a")
    assert holds(data) <= 64 << 10
    verity.check(data, hashes, root)
