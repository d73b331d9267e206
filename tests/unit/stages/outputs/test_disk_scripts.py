"""The scripts of a disk's phases: their order, their places in the tree, tidying up, and what they say."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType

import pytest

from blockdev.core.errors import BuildError
from stages.outputs.disk import scripts


def test_scripts_in_the_order_of_dib_run_parts(tmp_path: Path) -> None:
    for name in ("100-x", "20-x", "9-x", "plain", "00-x", "10-x.sh", "10-x~", "30-no"):
        path = tmp_path / name
        path.write_text("")
        path.chmod(0o644 if name == "30-no" else 0o755)
    (tmp_path / "40-folder").mkdir()
    (tmp_path / "50-link").symlink_to("20-x")
    (tmp_path / "60-dangling").symlink_to("nowhere")
    assert scripts.listed(tmp_path) == ["00-x", "plain", "9-x", "20-x", "50-link", "100-x"]
    assert scripts.listed(tmp_path / "none") == []


def test_a_link_in_the_tree_does_not_lead_mounts_astray(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/proc").symlink_to("/proc")
    with pytest.raises(BuildError, match="/proc of the tree is no folder"):
        scripts._mount_folder(tmp_path / "root", "proc")
    (tmp_path / "root/tmp").symlink_to("/tmp")
    with pytest.raises(BuildError, match="/tmp of the tree is no folder"):
        scripts._mount_folder(tmp_path / "root", "tmp/in_target.d")


def test_tidying_follows_no_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "log").mkdir(parents=True)
    (outside / "log/kept.log").write_text("kept")
    root = tmp_path / "tree"
    for name in ("tmp", "var/log", "root"):
        (root / name).mkdir(parents=True)
    (root / "tmp/link").symlink_to(outside)
    (root / "var/log/folder").symlink_to(outside / "log")
    (root / "var/log/link.log").symlink_to(outside / "log/kept.log")
    (root / "root/x.log").symlink_to(outside / "log/kept.log")
    (root / "root/y.log").write_text("gone")
    (root / "root/z.txt").write_text("kept")
    scripts.tidy(root)
    assert (outside / "log/kept.log").read_text() == "kept"
    assert list((root / "tmp").iterdir()) == []
    assert sorted(path.name for path in (root / "root").iterdir()) == ["x.log", "z.txt"]
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "tmp").symlink_to(outside)
    (linked / "var").mkdir()
    (linked / "var/log").symlink_to(outside / "log")
    scripts.tidy(linked)
    assert (outside / "log/kept.log").read_text() == "kept"


@pytest.mark.parametrize("pieces", [[b"one\ntwo\n"], [b"on", b"e\nt", b"wo"], [b"one\n", b"two\n"]])
def test_lines_come_whole_whatever_the_pieces_are(pieces: list[bytes]) -> None:
    reader, writer = os.pipe()

    def write() -> None:
        for piece in pieces:
            os.write(writer, piece)
            time.sleep(0.05)
        os.close(writer)

    thread = threading.Thread(target=write)
    thread.start()
    assert list(scripts.lines_of(reader)) == [b"one", b"two"]
    thread.join()
    os.close(reader)


@pytest.mark.timeout(60)
def test_a_signal_that_breaks_no_wait_is_heard() -> None:
    """As where it came just before the wait: here another thread gets it, and the call that waits goes on."""
    reader, writer = os.pipe()

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise InterruptedError

    def send() -> None:
        time.sleep(0.3)
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    previous = signal.signal(signal.SIGUSR1, stop)
    thread = threading.Thread(target=send)
    try:
        thread.start()
        with pytest.raises(InterruptedError):
            next(scripts.lines_of(reader))
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, previous)
        os.close(reader)
        os.close(writer)
