"""The archive that a request travels in: the same for everybody, and nothing of an image is lost on the way."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from blockdev.core.errors import UsageError
from builder.build.request_archive import request_archive
from stages.agent.bootstrap import unpack
from stages.element.hooks import merge
from stages.element.resolve import read_element
from stages.protocol.request import Request


@pytest.fixture
def element(tmp_path: Path) -> Path:
    folder = tmp_path / "web"
    (folder / "install.d").mkdir(parents=True)
    (folder / "install.d/50-run").write_text("#!/bin/sh\n")
    (folder / "install.d/50-run").chmod(0o755)
    return folder


def travel(element: Path, target: Path) -> Path:
    """The element's folder after the journey into a build container."""
    archive = request_archive(Request("build"), [read_element(element)])
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        unpack(opened, target)
    return target / "elements" / element.name


def test_owners_masks_and_times_of_the_asking_machine_do_not_travel(element: Path) -> None:
    before = request_archive(Request("build"), [read_element(element)])
    script = element / "install.d/50-run"
    script.chmod(0o711)
    os.utime(script, (1, 1))
    element.chmod(0o700)
    assert request_archive(Request("build"), [read_element(element)]) == before
    script.chmod(0o644)
    assert request_archive(Request("build"), [read_element(element)]) != before


def test_static_travels_whole(element: Path, tmp_path: Path) -> None:
    kept = ["opt/tests/case", "opt/.git/config", "opt/__pycache__/a.pyc", "b.pyc", ".hidden"]
    for path in kept:
        (element / "static" / path).parent.mkdir(parents=True, exist_ok=True)
        (element / "static" / path).write_text(path)
    (element / "static/link").symlink_to("/opt")
    (element / "static/dangling").symlink_to("nowhere")
    arrived = travel(element, tmp_path / "arrived")
    assert (arrived / "static/link").readlink() == Path("/opt")
    assert (arrived / "static/dangling").readlink() == Path("nowhere")
    tree = merge([("web", arrived)])
    assert {path.removeprefix("static/") for path in tree if path.startswith("static/")} == {*kept, "link", "dangling"}
    assert all(tree[f"static/{path}"].data.decode() == path for path in kept)


def test_an_elements_own_tests_stay_at_home(element: Path, tmp_path: Path) -> None:
    for path in ("tests/a", "test-elements/b/c", "install.d/__pycache__/d", "install.d/e.pyc"):
        (element / path).parent.mkdir(parents=True, exist_ok=True)
        (element / path).write_text("")
    arrived = travel(element, tmp_path / "arrived")
    assert [path.name for path in arrived.rglob("*") if path.is_file()] == ["50-run"]


def test_an_element_without_files_arrives(tmp_path: Path) -> None:
    (tmp_path / "empty" / "install.d").mkdir(parents=True)
    assert travel(tmp_path / "empty", tmp_path / "arrived").is_dir()


def test_a_pipe_in_an_element_is_refused(element: Path) -> None:
    os.mkfifo(element / "install.d" / "pipe")
    with pytest.raises(UsageError, match="pipe is neither"):
        request_archive(Request("build"), [read_element(element)])
    with pytest.raises(UsageError, match="pipe is neither"):
        merge([("web", element)])
