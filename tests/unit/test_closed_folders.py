"""What lies on a machine that others use is closed to them, also where an earlier version left it open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builder.engines import host
from builder.host_state import probe_results
from stages.agent import bootstrap


def mode(path: Path) -> int:
    """The permission bits."""
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("before", [None, 0o755, 0o777, 0o700])
def test_the_cache_folder_is_closed(before: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    folder = tmp_path / "caches/dib-ctr"
    if before is not None:
        folder.mkdir(parents=True)
        folder.chmod(before)
    assert probe_results.cache_folder() == folder
    assert mode(folder) == 0o700
    assert mode(folder.parent) & 0o055 == 0o055


@pytest.mark.parametrize("before", [None, 0o755, 0o1777])
def test_the_host_store_is_closed(before: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "deep/store"
    if before is not None:
        folder.mkdir(parents=True)
        folder.chmod(before)
    monkeypatch.setenv("DIB_CTR_STORE", str(folder))
    monkeypatch.setattr(os, "getuid", lambda: 1000)  # root's ranges are another matter: the contract tests have them
    host.Host()._prepare()
    assert mode(folder) == 0o700
    assert mode(folder.parent) & 0o055 == 0o055


def test_a_volume_is_closed_from_inside(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    bootstrap.close_to_others(tmp_path)
    assert mode(tmp_path) == 0o700
