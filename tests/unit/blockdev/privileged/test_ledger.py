"""What a run with loop devices writes down, and what is released of one that was killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockdev.core.boot_id import boot_id
from blockdev.privileged import device_mapper, ledger, loops, release

IMAGE = ledger.HeldImage("/x/.image0-1.part", 7, 8)


ENTRIES = (
    IMAGE,
    ledger.Loop(3, IMAGE, 512, 1024),
    ledger.Mapping("secret"),
    ledger.Group("vg", ("/dev/loop3", "/dev/mapper/secret")),
    ledger.Mounts("/x y/mnt"),
)


def test_a_ledger_tells_all_that_was_written_down(tmp_path: Path) -> None:
    book = ledger.open_ledger(tmp_path / "new")
    for entry in ENTRIES:
        book.add(entry)
    owner, entries = ledger.read(book.path.read_text())
    assert entries == ENTRIES
    assert owner is not None
    assert owner.pid == os.getpid()
    assert owner.alive
    book.close(remove=True)
    assert list((tmp_path / "new").iterdir()) == []


@given(st.integers(min_value=0))
def test_a_ledger_cut_short_tells_whole_lines(place: int) -> None:
    owner = ledger.Owner("boot", 1, 2, "ns")
    folder = Path("/nowhere")
    file, path = os.pipe()
    book = ledger.Ledger(folder, "t", [], path)
    os.write(path, b'{"boot": "boot", "pid": 1, "started": 2, "namespace": "ns"}\n')
    for entry in ENTRIES:
        book.add(entry)
    os.close(path)
    with os.fdopen(file, encoding="utf-8") as stream:
        text = stream.read()
    cut = text[: place % (len(text) + 1)]
    found, entries = ledger.read(cut)
    whole = cut.count("\n")
    assert found == (owner if whole else None)
    assert entries == ENTRIES[: max(whole - 1, 0)]


def test_the_ledger_of_a_run_that_lives_is_not_touched(tmp_path: Path) -> None:
    book = ledger.open_ledger(tmp_path)
    book.add(ledger.Mounts(str(tmp_path / "mnt")))
    assert release.release_left_over(tmp_path) == release.LeftOver()
    assert book.path.exists()
    os.close(book._file)  # the lock is lost; the process is still there
    assert release.release_left_over(tmp_path) == release.LeftOver()
    assert book.path.exists()


def test_the_ledger_of_another_boot_is_removed_and_nothing_else(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_text("still here")
    found = image.stat()
    book = ledger.open_ledger(tmp_path)
    book.add(ledger.HeldImage(str(image), found.st_dev, found.st_ino))
    os.close(book._file)
    first, rest = book.path.read_text().split("\n", 1)
    book.path.write_text(first.replace(boot_id(), "another") + "\n" + rest)
    assert release.release_left_over(tmp_path) == release.LeftOver()
    assert list(tmp_path.iterdir()) == [image]


@pytest.mark.parametrize("content", [b"", b"\0" * 80 + b"\n", b"[]\n", b'{"boot": 1}\n'])
def test_a_ledger_that_cannot_be_read_stops_no_build(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.ledger").write_bytes(content)
    assert release.release_left_over(tmp_path) == release.LeftOver()
    assert list(tmp_path.iterdir()) == []


def test_an_image_that_is_another_file_now_stays(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_text("mine")
    found = image.stat()
    assert release.release([ledger.HeldImage(str(image), found.st_dev, found.st_ino + 1)], print) == ()
    assert image.exists()
    assert release.release([ledger.HeldImage(str(image), found.st_dev, found.st_ino)], print) == ()
    assert not image.exists()


def test_a_volume_group_of_the_machine_is_not_deactivated(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of its devices is not ours any more: the group may be another's."""
    asked: list[list[str]] = []

    def note(command: list[str]) -> str:
        asked.append(list(command))
        return ""

    monkeypatch.setattr(release, "_run", note)
    monkeypatch.setattr(loops, "is_ours", lambda _: False)
    entries = (ledger.Loop(0, IMAGE, 0, 512), ledger.Group("vg", ("/dev/null", "/dev/loop0")))
    assert release.release(entries, print) == ()
    assert asked == []
    monkeypatch.setattr(loops, "is_ours", lambda one: one.number == 0)
    monkeypatch.setattr(loops, "detach", lambda _: "")
    monkeypatch.setattr(Path, "exists", lambda _: True)
    assert release.release(entries, lambda _: None) == ()
    assert asked == [device_mapper.deactivate_argv("vg", ("/dev/null", "/dev/loop0"))]


def test_mountinfo_s_octal_numbers() -> None:
    assert release._plain("/a\\040b\\134c\\011") == "/a b\\c\t"
