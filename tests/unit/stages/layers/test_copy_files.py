"""Copies within the store are ``cp``'s; what it says of a failure is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from blockdev.core.errors import BuildError
from stages.layers.copy_files import copy_files


def test_a_copy_has_modes_times_and_links(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.mkdir()
    (source / "file").write_text("x")
    (source / "file").chmod(0o640)
    os.utime(source / "file", ns=(1, 1_000_000_000))
    (source / "link").symlink_to("file")
    os.link(source / "file", source / "other")
    target.mkdir()
    copy_files(f"{source}/.", f"{target}/")
    status = (target / "file").stat()
    assert (status.st_mode & 0o777, status.st_mtime_ns, status.st_nlink) == (0o640, 1_000_000_000, 2)
    assert (target / "link").readlink() == Path("file")


def test_what_cp_says_is_told(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"files of a layer could not be copied: .*cp: .*No such file"):
        copy_files(str(tmp_path / "-none"), str(tmp_path / "x"))
