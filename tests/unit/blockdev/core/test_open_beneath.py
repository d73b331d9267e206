"""Folders below a folder, opened without following a link."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from blockdev.core.open_beneath import open_folder


def test_folders_are_made_and_links_are_refused(tmp_path: Path) -> None:
    (tmp_path / "top/own").mkdir(parents=True)
    (tmp_path / "elsewhere/below").mkdir(parents=True)
    (tmp_path / "top/link").symlink_to(tmp_path / "elsewhere")
    handle = open_folder(tmp_path / "top", "own/new/newer", make=True)
    try:
        assert os.path.samestat(os.fstat(handle), (tmp_path / "top/own/new/newer").stat())
    finally:
        os.close(handle)
    for path in ("link", "link/below", "link/new", "../elsewhere", str(tmp_path / "elsewhere")):
        with pytest.raises(OSError, match=r"directory|does not lie below"):
            open_folder(tmp_path / "top", path, make=True)
    assert [each.name for each in (tmp_path / "elsewhere").iterdir()] == ["below"]
