"""Holes stay holes: a tar takes the room of its data, and what unpacks it has the very content."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from blockdev.core import holes
from builder.destination import place_output
from stages.outputs.formats import tree_tar
from stages.outputs.formats.archives import write_tar

MIB = 1 << 20
EPOCH = 1_700_000_000
# name: size, and where its data lie
FILES = {
    "start": (40 * MIB + 17, {0: b"begin"}),
    "middle": (70 * MIB, {30 * MIB - 3: b"across two pieces", 60 * MIB: b"x" * (2 * MIB)}),
    "end": (32 * MIB + 5, {32 * MIB: b"12345"}),
    "nothing": (40 * MIB, {}),
    "small": (8 * MIB, {0: b"too few zeros for another format"}),
}


def write(folder: Path, *, full: bool) -> None:
    folder.mkdir()
    for name, (size, data) in FILES.items():
        with (folder / name).open("wb") as file:
            if full:
                for _ in range(size // MIB):
                    file.write(bytes(MIB))
            file.truncate(size)
            for at, text in data.items():
                file.seek(at)
                file.write(text)
        os.utime(folder / name, (EPOCH, EPOCH))


def room(path: Path) -> int:
    return path.stat().st_blocks * 512


def digests(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as data:
            found[path.name] = hashlib.file_digest(data, "sha256").hexdigest()
    return found


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sparse") / "tree"
    write(folder, full=False)
    return folder


@pytest.fixture(scope="module")
def tar(tree: Path) -> Path:
    write_tar(tree, tree.with_name("tree.tar"), epoch=EPOCH)
    return tree.with_name("tree.tar")


def test_a_tar_has_the_data_alone(tar: Path) -> None:
    assert tar.stat().st_size < 20 * MIB


@pytest.mark.parametrize("command", [["tar", "-xf"], ["bsdtar", "-xf"]])
def test_others_unpack_it_with_its_holes(tree: Path, tar: Path, tmp_path: Path, command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]}")
    subprocess.run([*command, str(tar), "-C", str(tmp_path)], check=True)
    assert digests(tmp_path) == digests(tree)
    assert sum(room(path) for path in tmp_path.iterdir()) < 40 * MIB


def test_python_reads_it(tree: Path, tar: Path) -> None:
    with tarfile.open(tar) as members:
        for name, (size, _) in FILES.items():
            member = members.getmember(f"{name}")
            assert member.size == size
            data = members.extractfile(member)
            assert data is not None
            found = hashlib.sha256()
            while piece := data.read(MIB):
                found.update(piece)
            assert found.hexdigest() == digests(tree)[name]


def test_the_bytes_follow_from_the_content_alone(tar: Path, tmp_path: Path) -> None:
    """On a file system that keeps every zero they are the same."""
    write(tmp_path / "tree", full=True)
    write_tar(tmp_path / "tree", tmp_path / "tree.tar", epoch=EPOCH)
    assert (tmp_path / "tree.tar").read_bytes() == tar.read_bytes()


def test_a_layer_has_plain_members(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    with (tmp_path / "tree/f").open("wb") as file:
        file.truncate(20 * MIB)
    with (tmp_path / "layer").open("wb") as out:
        tree_tar.write_tree(tmp_path / "tree", out, epoch=EPOCH, layer=True)
    assert (tmp_path / "layer").stat().st_size > 20 * MIB
    with tarfile.open(tmp_path / "layer") as members:
        assert not members.getmember("f").issparse()


def test_a_dir_output_keeps_them(tar: Path, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    shutil.copyfile(tar, tmp_path / "store/artifact")
    sent = subprocess.run(["tar", "-C", str(tmp_path / "store"), "-cf", "-", "."], capture_output=True, check=True)
    place_output(iter([sent.stdout]), "dir", tmp_path / "image.dir")
    assert digests(tmp_path / "image.dir") == digests(tree)
    assert sum(room(path) for path in (tmp_path / "image.dir").iterdir()) < 40 * MIB


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB])
def test_pieces_are_the_content(tmp_path: Path, size: int) -> None:
    with (tmp_path / "f").open("w+b") as file:
        file.truncate(size)
        file.seek(size // 2)
        file.write(b"x" * min(size, 5))
        file.flush()
        whole = os.fstat(file.fileno()).st_size
        assert b"".join(holes.pieces(file.fileno(), whole)) == (tmp_path / "f").read_bytes()
        parts = holes.extents(file.fileno(), whole)
        assert all(begin % MIB == 0 for begin, _ in parts)
        assert sum(length for _, length in parts) <= whole


def test_a_file_that_becomes_shorter_has_fewer_pieces(tmp_path: Path) -> None:
    with (tmp_path / "f").open("w+b") as file:
        file.write(b"x" * 100)
        file.flush()
        assert len(b"".join(holes.pieces(file.fileno(), 200))) == 100
