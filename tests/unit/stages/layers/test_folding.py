"""Chains of layers that are too long to mount: the lowest are copied into one (mounting is tested with the engines)."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.layers import overlay
from stages.layers.layer_digests import FOLDED
from stages.layers.store import Store


@pytest.fixture
def mounted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The chains that were mounted to be copied: nothing is, really."""
    chains: list[tuple[str, ...]] = []

    def mount(_store: Store, chain: tuple[str, ...], at: Path, _options: str) -> None:
        chains.append(tuple(chain))
        (at / "tree").mkdir(parents=True)

    monkeypatch.setattr(overlay, "_overlay", mount)
    monkeypatch.setattr("blockdev.core.syscalls.unmount", lambda _: None)
    return chains


def chain_of(count: int) -> tuple[str, ...]:
    return tuple(f"{number:010x}" for number in range(count))


def test_a_chain_of_300_layers_is_mounted_as_it_is(tmp_path: Path, mounted: list[tuple[str, ...]]) -> None:
    assert overlay.fold(Store(tmp_path), chain_of(300)) == chain_of(300)
    assert mounted == []


def test_of_a_longer_one_the_lowest_become_one(tmp_path: Path, mounted: list[tuple[str, ...]]) -> None:
    store, chain = Store(tmp_path), chain_of(301)
    lowest, *rest = overlay.fold(store, chain)
    assert lowest.startswith(FOLDED)
    assert tuple(rest) == chain[151:]
    assert mounted == [chain[:151]]
    assert (tmp_path / "layers" / lowest / "tree").is_dir()
    assert overlay.fold(store, chain) == (lowest, *rest)
    assert mounted == [chain[:151]], "it is copied once"


def test_nothing_that_is_mounted_is_longer(tmp_path: Path, mounted: list[tuple[str, ...]]) -> None:
    assert len(overlay.fold(Store(tmp_path), chain_of(1000))) <= 300
    assert mounted
    assert max(map(len, mounted)) <= 300
