"""Which build images go: this user's own, of earlier recipes, unused for long, and none that a container has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builder.build_image import ensure, usage
from builder.engines.protocol import Engine


class Images:
    """An engine of which images are all that matters."""

    name = "podman"

    def __init__(self, busy: str = "") -> None:
        self.asked: list[str] = []
        self._busy = busy

    def let_go_of_image(self, reference: str) -> bool:
        self.asked.append(reference)
        return reference != self._busy


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def note(tmp_path: Path, times: dict[str, float]) -> None:
    (tmp_path / "dib-ctr").mkdir(exist_ok=True)
    (tmp_path / "dib-ctr/images.json").write_text(json.dumps({"podman": times}))


def engine(images: Images) -> Engine:
    return images  # type: ignore[return-value]


def test_only_images_that_were_noted_here_and_are_old_go(tmp_path: Path) -> None:
    old, busy, foreign = (f"{usage.OURS}debian:{tag}" for tag in ("old", "busy", "x"))
    note(tmp_path, {old: 1.0, busy: 1.0, "docker.io/library/debian:12": 1.0})
    present = ensure.reference()
    usage.note_use("podman", present)
    usage.note_use("docker", foreign)
    images = Images(busy)
    assert usage.prune(engine(images), ensure.references()) == [old]
    assert sorted(images.asked) == sorted([old, busy])
    assert usage.prune(engine(Images()), ensure.references(), 0.0) == [busy], "it was left, and is free now"
    assert present in json.loads((tmp_path / "dib-ctr/images.json").read_text())["podman"]


def test_a_use_keeps_an_image(tmp_path: Path) -> None:
    name = f"{usage.OURS}disk:some"
    note(tmp_path, {name: 1.0})
    usage.note_use("podman", name)
    assert usage.prune(engine(Images()), ()) == []


@pytest.mark.parametrize("text", ["", "[]", '{"podman": 3}', "{"])
def test_notes_that_make_no_sense_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "dib-ctr").mkdir()
    (tmp_path / "dib-ctr/images.json").write_text(text)
    images = Images()
    assert usage.prune(engine(images), (), 0.0) == []
    usage.note_use("podman", f"{usage.OURS}debian:x")
    assert usage.prune(engine(images), (), -1.0) == [f"{usage.OURS}debian:x"]
