"""What killed builds leave is found by its lock, and what the living use is left alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.engines import leftovers

NAME, OTHER = "dib-ctr-0123456789ab", "dib-ctr-ba9876543210"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def killed(body: Callable[[Callable[[], None]], None]) -> None:
    """Run ``body`` in a process that is killed as soon as it calls what it is given."""
    child = os.fork()
    if not child:
        body(lambda: os.kill(os.getpid(), signal.SIGKILL))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def begun(place: str) -> Callable[[Callable[[], None]], None]:
    """A build that dies while its container runs."""

    def body(die: Callable[[], None]) -> None:
        with leftovers.container(place, NAME, lambda _: True):
            die()

    return body


def test_a_killed_client_s_container_is_removed_by_the_next_build() -> None:
    killed(begun("podman here"))
    removed: list[str] = []
    with leftovers.container("podman here", OTHER, lambda name: not removed.append(name)) as life:  # type: ignore[func-returns-value]
        assert removed == [NAME]
        life.ended = True
    assert removed == [NAME]
    assert list(leftovers.notes().iterdir()) == []


def test_a_living_client_s_container_is_left_alone() -> None:
    removed: list[str] = []
    with leftovers.container("podman here", NAME, lambda _: True) as life:
        leftovers.sweep("podman here", lambda name: not removed.append(name))  # type: ignore[func-returns-value]
        life.ended = True
    assert removed == []


def test_each_place_is_asked_for_its_own() -> None:
    killed(begun("docker there"))
    removed: list[str] = []
    leftovers.sweep("podman here", lambda name: not removed.append(name))  # type: ignore[func-returns-value]
    assert removed == []
    assert len(list(leftovers.notes().iterdir())) == 1


def test_what_cannot_be_removed_now_is_removed_later() -> None:
    """A daemon that is down: the note stays."""
    killed(begun("docker there"))
    leftovers.sweep("docker there", lambda _: False)
    removed: list[str] = []
    leftovers.sweep("docker there", lambda name: not removed.append(name))  # type: ignore[func-returns-value]
    assert removed == [NAME]
    assert list(leftovers.notes().iterdir()) == []


@pytest.mark.parametrize("fails", [True, False])
def test_a_container_that_did_not_end_by_itself_is_removed(fails: bool) -> None:
    """The client was killed, or the engine's: the build goes on to say so, after the container is gone."""
    removed: list[str] = []

    def build() -> None:
        with leftovers.container("podman here", NAME, lambda name: not removed.append(name)):  # type: ignore[func-returns-value]
            if fails:
                raise KeyboardInterrupt

    if fails:
        with pytest.raises(KeyboardInterrupt):
            build()
    else:
        build()
    assert removed == [NAME]
    assert list(leftovers.notes().iterdir()) == []


def test_rubbish_among_the_notes_hurts_nobody() -> None:
    leftovers.notes().mkdir(parents=True)
    for number, text in enumerate(("", "{", "[]", '{"place": "p"}', '{"place": "p", "name": "somebody-else"}')):
        (leftovers.notes() / f"{number}.json").write_text(text)
    (leftovers.notes() / "link.json").symlink_to("/etc/passwd")
    leftovers.sweep("p", pytest.fail)


def test_scratch_of_the_killed_goes_and_of_the_living_stays(tmp_path: Path) -> None:
    def body(die: Callable[[], None]) -> None:
        with (
            leftovers.scratch_file("dib-ctr-image-", ".tar", str(tmp_path)) as file,
            leftovers.scratch_folder("dib-ctr-recipe-", str(tmp_path)) as folder,
        ):
            file.write_text("half")
            (folder / "deep").mkdir()
            die()

    killed(body)
    (tmp_path / "dib-ctr-recipe-link").symlink_to(tmp_path)
    left = sorted(path.name.rpartition("-")[0] for path in tmp_path.glob("dib-ctr-*"))
    assert left == ["dib-ctr-image", "dib-ctr-recipe", "dib-ctr-recipe"]
    with leftovers.scratch_folder("dib-ctr-recipe-", str(tmp_path)) as first:
        with leftovers.scratch_folder("dib-ctr-recipe-", str(tmp_path)) as second:
            assert first.is_dir()
            assert second.is_dir()
        assert not second.exists()
        with leftovers.scratch_file("dib-ctr-image-", ".tar", str(tmp_path)) as file:
            assert list(tmp_path.glob("dib-ctr-image-*")) == [file]
    assert list(tmp_path.glob("dib-ctr-*")) == [tmp_path / "dib-ctr-recipe-link"]
