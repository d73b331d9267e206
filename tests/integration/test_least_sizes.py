"""The least sizes of file systems are those of the programs that make them: there they work, a block below not."""

from __future__ import annotations

from pathlib import Path

import pytest

from blockdev.core.errors import BuildError
from blockdev.filesystems import KINDS, Spec, write
from blockdev.layout.least import least

BLOCK = 4096
READ_ONLY = {"squashfs", "erofs"}  # as large as their content
CASES: list[tuple[str, tuple[str, ...]]] = [
    *((kind, ()) for kind in KINDS if kind not in READ_ONLY),
    ("ext4", ("-J", "size=4")),
    ("ext4", ("-i", "4096", "-J", "size=64")),
    ("ext3", ("-Jsize=16",)),
    ("btrfs", ("--mixed",)),
    ("swap", ("-p", "65536")),
    ("swap", ("--pagesize=16384",)),
    ("btrfs", ("-m", "single")),
]


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_where_the_least_size_is(kind: str, options: tuple[str, ...], tmp_path: Path) -> None:
    needed = least(kind, options).size
    # A journal's file system needs a few blocks more, which depend on all its other options.
    for length, works in ((needed + (1 << 20 if "-J" in str(options) else 0), True), (needed - BLOCK, False)):
        image, tree = tmp_path / f"{length}", tmp_path / "tree"
        tree.mkdir(exist_ok=True)
        with image.open("wb") as file:
            file.truncate(length)
        spec = Spec(kind, label="L", options=options, epoch=1_700_000_000, seed="least")
        if works:
            write(spec, image, 0, length, None if kind == "swap" else tree)
        else:
            with pytest.raises(BuildError):
                write(spec, image, 0, length, None if kind == "swap" else tree)
        image.unlink()
