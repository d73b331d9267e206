"""Requests for file systems: the least size, any name, what is refused, and damage that is found."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blockdev import filesystems
from blockdev.core.errors import BuildError
from blockdev.filesystems import Spec, measure, minimum_size
from tests.examples import examples
from tests.integration.filesystem_scenario import EPOCH, OLD, content
from tests.integration.filesystem_tools import KINDS, MIB, run


def _many(tree: Path) -> None:
    for number in range(3000):
        (tree / f"{number % 7}").mkdir(exist_ok=True)
        (tree / f"{number % 7}" / f"{'long name ' * (number % 9)}{number}").write_bytes(b"x" * (number % 5))


def _large(tree: Path) -> None:
    (tree / "large").write_bytes(os.urandom(40 * MIB + 1))


def _folders(tree: Path) -> None:
    for number in range(1500):
        (tree / f"{number}").mkdir()


TREES = {"many": _many, "large": _large, "folders": _folders, "empty": lambda tree: None}
MORE = pytest.mark.thorough("one more file system; `just test` has ext4's and all empty ones")


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        pytest.param(kind, make, id=f"{kind}-{name}", marks=() if kind == "ext4" or name == "empty" else MORE)
        for kind in KINDS
        if kind != "swap"
        for name, make in TREES.items()
    ],
)
def test_minimum_size_is_enough(kind: str, make: Any, tmp_path: Path) -> None:
    """A tree fits into what is foretold for it, and for ext and FAT that is not far too much."""
    tree = tmp_path / "tree"
    tree.mkdir()
    make(tree)
    length = minimum_size(kind, measure(tree))
    image = tmp_path / "image"
    written = filesystems.write(Spec(kind, epoch=EPOCH, seed="size"), image, 0, length, tree)
    filesystems.check(image, 0, length, kind)
    assert written.size <= length
    if kind.startswith("ext") or kind == "vfat":
        taken = sum(-(-path.lstat().st_size // 4096) for path in tree.rglob("*")) * 4096
        assert length <= 2 * taken + 16 * MIB


@settings(max_examples=examples(25), deadline=None)
@given(
    names=st.lists(
        st.binary(min_size=1, max_size=40).filter(lambda name: b"/" not in name and b"\0" not in name),
        min_size=1,
        max_size=6,
        unique=True,
    )
)
def test_ext4_holds_any_name(names: list[bytes]) -> None:
    """As a file, as a folder with a file of that name in it, and as a link's target."""
    names = [name for name in names if name not in (b".", b"..")]
    with tempfile.TemporaryDirectory() as made:
        tree, image = Path(made) / "tree", Path(made) / "image"
        for kind in ("files", "folders", "links"):
            (tree / kind).mkdir(parents=True)
        for number, name in enumerate(names):
            text = os.fsdecode(name)
            (tree / "files" / text).write_bytes(content(number))
            (tree / "folders" / text).mkdir()
            (tree / "folders" / text / text).write_bytes(b"inside")
            (tree / "links" / str(number)).symlink_to(text)
        filesystems.write(Spec("ext4", epoch=EPOCH), image, 0, 8 * MIB, tree)
        filesystems.check(image, 0, 8 * MIB, "ext4")
        out = Path(made) / "out"
        out.mkdir()
        run("debugfs", "-R", b'rdump / "' + os.fsencode(out) + b'"', image)
        for path in tree.rglob("*"):
            copy = out / path.relative_to(tree)
            if path.is_symlink():
                assert copy.readlink() == path.readlink()
            elif path.is_file():
                assert copy.read_bytes() == path.read_bytes()
            else:
                assert sorted(item.name for item in copy.iterdir()) == sorted(item.name for item in path.iterdir())


@pytest.mark.parametrize(
    ("given_spec", "words"),
    [
        (Spec("ext4", options=("-O", "no_such_feature")), "no_such_feature"),
        (Spec("vfat", label="MORE-THAN-ELEVEN"), "mkfs.vfat could not write the file system"),
        (Spec("xfs", label="more-than-twelve-letters"), "mkfs.xfs could not write the file system"),
        (Spec("squashfs", options=("-comp", "none-such")), "mksquashfs could not write the file system"),
        (Spec("swap", label="more-than-sixteen"), "the label 'more-than-sixteen' is too long for swap"),
        (Spec("zfs"), "there is no writer for the file system 'zfs'"),
    ],
    ids=lambda value: value.kind if isinstance(value, Spec) else "",
)
def test_wrong_requests_are_sentences(given_spec: Spec, words: str, tmp_path: Path) -> None:
    """What the tool has to say is in the error."""
    with pytest.raises(BuildError, match=re.escape(words)):
        filesystems.write(given_spec, tmp_path / "image", 0, 300 * MIB, None)
    assert [path.name for path in tmp_path.iterdir()] in ([], ["image"])


def test_a_place_that_is_taken(tmp_path: Path) -> None:
    """Old bytes in the place of a file system would stay in the image; zeros are as good as a hole."""
    image = tmp_path / "image"
    image.write_bytes(bytes(8 * MIB))
    filesystems.write(Spec("ext4", epoch=OLD), image, MIB, 4 * MIB, None)
    with pytest.raises(BuildError, match="the place of a file system is not blank"):
        filesystems.write(Spec("ext4"), image, 4 * MIB, 4 * MIB, None)
        filesystems.write(Spec("ext4"), image, 2 * MIB, 4 * MIB, None)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "erofs"])
def test_check_finds_damage(kind: str, tmp_path: Path) -> None:
    """A file system whose first 64 KiB are overwritten is not clean."""
    image = tmp_path / "image"
    length = minimum_size(kind, measure(None))
    filesystems.write(Spec(kind, epoch=EPOCH), image, MIB, length, None)
    filesystems.check(image, MIB, length, kind)
    with image.open("r+b") as file:
        file.seek(MIB)
        file.write(b"\x5a" * 0x20000)
    with pytest.raises(BuildError):
        filesystems.check(image, MIB, length, kind)


def test_ext_options(tmp_path: Path) -> None:
    """Journal size, block size, an extended option beside our own, and many small files get their inodes."""
    image = tmp_path / "image"
    options = ("-J", "size=4", "-b", "1024", "-E", "stride=2", "-Estripe_width=4", "-m", "0")
    filesystems.write(Spec("ext4", options=options, epoch=EPOCH), image, MIB, 32 * MIB, None)
    filesystems.check(image, MIB, 32 * MIB, "ext4")
    shown = run("dumpe2fs", f"{image}?offset={MIB}").decode()
    for line in ("Block size: +1024", "Total journal size: +4096k", "RAID stride: +2", "RAID stripe width: +4"):
        assert re.search(line, shown.replace("4M", "4096k")), line
    assert re.search(r"Block count: +32768", shown)
    assert "orphan_file" not in shown
