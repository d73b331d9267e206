"""Where two images differ: each thing that can differ is found, in order, and told in words."""

from __future__ import annotations

import gzip
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.inspection import file_diff
from builder.inspection.compare import Difference, differences, first_difference
from builder.inspection.file_diff import first_spot
from tests.unit import handmade_images as made
from tests.unit.handmade_images import Item, folder, hard, link


@pytest.fixture(autouse=True)
def _no_diffoscope(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told does not depend on what this machine has."""
    monkeypatch.setattr(file_diff, "diffoscope_report", lambda *_: "")


BASE = [folder("etc"), Item("etc/passwd", b"root:x:0\ndaemon:x:1\n"), Item("etc/z", b"z"), link("l", "etc")]


def found(path: Path, ours: list[Item], theirs: list[Item], **options: Any) -> list[Difference]:
    """What differs between images of one layer each."""
    return differences(made.image(path / "a", ours), made.image(path / "b", theirs), **options)


def brief(path: Path, ours: list[Item], theirs: list[Item]) -> list[tuple[str, str, str, str]]:
    """The same without details."""
    return [(each.path, each.what, each.ours, each.theirs) for each in found(path, ours, theirs)]


def test_no_difference(tmp_path: Path) -> None:
    """None is found in an image and itself."""
    assert found(tmp_path, BASE, BASE) == []
    assert first_difference(tmp_path / "a", tmp_path / "b") is None


def test_content_of_a_text(tmp_path: Path) -> None:
    """The byte, the line, both versions of it, and a diff."""
    changed = [BASE[0], replace(BASE[1], content=b"root:x:0\ndaemon:y:1\n"), *BASE[2:]]
    (difference,) = found(tmp_path, BASE, changed)
    assert str(difference).split("\n") == [
        "/etc/passwd: content, from byte 16 (line 2): 'daemon:x:1' in the first, 'daemon:y:1' in the second",
        "    --- first",
        "    +++ second",
        "    @@ -1,2 +1,2 @@",
        "     root:x:0",
        "    -daemon:x:1",
        "    +daemon:y:1",
    ]


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"mode": 0o4755}, ("/etc/z", "mode", "0644", "4755")),
        ({"owner": (0, 42)}, ("/etc/z", "owner", "0:0", "0:42")),
        ({"mtime": 0}, ("/etc/z", "time of change", "2023-11-14 22:13:20", "1970-01-01 00:00:00")),
        (
            {"headers": {"mtime": "1700000000.5"}},
            ("/etc/z", "time of change", "2023-11-14 22:13:20", "2023-11-14 22:13:20.500000000"),
        ),
        (
            {"headers": {"SCHILY.xattr.user.x": "y"}},
            ("/etc/z", "extended attributes", "nothing", "user.x=b'y'"),
        ),
        ({"content": b"\0"}, ("/etc/z", "content, from byte 0", "7a", "00")),
        (
            {"content": b""},
            ("/etc/z", "content, from byte 0 (line 1)", "'z' (1 bytes in all)", "the end (0 bytes in all)"),
        ),
        ({"name": "etc/zz"}, ("/etc/z", "what is there", "a file of 1 bytes", "nothing")),
        (
            {"type": tarfile.SYMTYPE, "target": "q", "content": b""},
            ("/etc/z", "what is there", "a file of 1 bytes", "a link to q"),
        ),
    ],
)
def test_each_thing_that_a_file_has(tmp_path: Path, change: dict[str, Any], difference: tuple[str, ...]) -> None:
    """Is found, and told in words."""
    changed = [*BASE[:2], replace(BASE[2], **change), BASE[3]]
    assert brief(tmp_path, BASE, changed)[0] == difference
    assert len(found(tmp_path, BASE, changed)) == (2 if "name" in change else 1)


def test_links_and_hard_links(tmp_path: Path) -> None:
    """Where they lead, and which names are one file."""
    ours = [Item("a", b"1"), hard("b", "a"), link("l", "a")]
    theirs = [Item("a", b"1"), Item("b", b"1"), link("l", "b")]
    assert brief(tmp_path, ours, theirs) == [
        ("/a", "hard links", "/b", "nothing"),
        ("/b", "hard links", "/a", "nothing"),
        ("/l", "where it leads", "a", "b"),
    ]


def test_a_folder_that_is_gone_is_one_difference(tmp_path: Path) -> None:
    """What is in it needs no line; what only begins with its name does."""
    ours = [folder("a"), folder("a/b"), Item("a/b/c"), Item("a-b"), Item("ab")]
    assert brief(tmp_path, ours, []) == [
        ("/a", "what is there", "a folder with 2 entries in it", "nothing"),
        ("/a-b", "what is there", "a file of 0 bytes", "nothing"),
        ("/ab", "what is there", "a file of 0 bytes", "nothing"),
    ]


def test_the_order_and_the_limit(tmp_path: Path) -> None:
    """Configuration, number of layers, then paths in order."""
    ours = made.image(tmp_path / "a", BASE, config={"Env": ["A=1"], "User": "x"})
    theirs = made.image(tmp_path / "b", BASE, [Item("etc/b"), Item("etc/a")], config={"Env": ["A=2"], "User": "x"})
    told = [str(each).split(" in the first")[0] for each in differences(ours, theirs)]
    assert told == [
        'the image\'s configuration: config.Env: ["A=1"]',
        "the image's configuration: history[1]: nothing",
        "the image: number of layers: 1",
        "/etc/a: what is there: nothing",
        "/etc/b: what is there: nothing",
    ]
    assert len(differences(ours, theirs, limit=2)) == 2
    assert str(first_difference(ours, theirs)).startswith(told[0])


def test_the_same_tree_in_other_layers_is_told_by_their_number(tmp_path: Path) -> None:
    """One layer or two."""
    ours = made.image(tmp_path / "a", BASE, history=[])
    theirs = made.image(tmp_path / "b", BASE[:2], BASE[2:], history=[])
    assert [each.what for each in differences(ours, theirs)] == ["number of layers"]


@pytest.mark.parametrize(
    ("theirs", "what"),
    [
        ([*BASE[:2], BASE[3], BASE[2]], "the order of its members, from number 3"),
        ([*BASE, BASE[3]], "the number of its members"),
        ([BASE[0], replace(BASE[1], user="root"), *BASE[2:]], "uname of its member etc/passwd"),
        ([BASE[0], replace(BASE[1], headers={"comment": "x"}), *BASE[2:]], "pax_headers of its member etc/passwd"),
        ([BASE[0], replace(BASE[1], name="./etc/passwd"), *BASE[2:]], "its members, from number 2"),
    ],
)
def test_the_same_tree_from_another_archive(tmp_path: Path, theirs: list[Item], what: str) -> None:
    """The first thing of the archive that differs."""
    (difference,) = found(tmp_path, BASE, theirs)
    assert difference.path == "layer 1"
    assert difference.what == f"the tree is the same, its tar archive is not: {what}"


def test_content_that_a_later_layer_hides(tmp_path: Path) -> None:
    """It makes no difference in the tree."""
    over = [BASE[1]]
    ours = made.image(tmp_path / "a", [replace(BASE[1], content=b"ab")], over)
    theirs = made.image(tmp_path / "b", [replace(BASE[1], content=b"cd")], over)
    (difference,) = differences(ours, theirs)
    assert "the content of its member etc/passwd, hidden in the tree" in difference.what


def test_what_follows_the_last_member(tmp_path: Path) -> None:
    """Longer padding."""
    ours = made.image(tmp_path / "a", made.tar(BASE))
    (difference,) = differences(ours, made.image(tmp_path / "b", made.tar(BASE) + bytes(10240)))
    assert "what follows the last member" in difference.what


def test_another_compression(tmp_path: Path) -> None:
    """Same archive, another blob."""
    ours = made.image(tmp_path / "a", BASE)
    theirs = made.image(tmp_path / "b", BASE, compress=lambda data: gzip.compress(data, 1, mtime=1))
    (difference,) = differences(ours, theirs)
    assert difference.what == "the tar archive is the same, its compression is not"


# -- the place in a file ----------------------------------------------------------------------------------


@given(st.binary(max_size=60), st.binary(max_size=60), st.sampled_from([3, 7, 1 << 20]))
def test_the_first_byte_that_differs(
    tmp_path_factory: pytest.TempPathFactory, one: bytes, other: bytes, piece: int
) -> None:
    """Is named, in whatever pieces the files are read."""
    path = tmp_path_factory.mktemp("files")
    (path / "a").write_bytes(one)
    (path / "b").write_bytes(other)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_diff, "PIECE", piece)
        spot = first_spot(path / "a", path / "b")
    if one == other:
        assert spot is None
        return
    assert spot is not None
    byte = next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    byte = min(len(one), len(other)) if byte is None else byte
    line = one[:byte].count(b"\n") + 1
    assert spot.what in (f"content, from byte {byte}", f"content, from byte {byte} (line {line})")
    assert spot.ours != spot.theirs


def spot_of(path: Path, one: bytes, other: bytes) -> file_diff.Spot:
    """Where two contents differ."""
    (path / "a").write_bytes(one)
    (path / "b").write_bytes(other)
    spot = first_spot(path / "a", path / "b")
    assert spot is not None
    return spot


def test_a_long_line_is_shown_around_the_place(tmp_path: Path) -> None:
    """In letters, not in halves of them."""
    spot = spot_of(tmp_path, "ä".encode() * 500 + b"x" + b"y" * 500, "ä".encode() * 500 + b"z" + b"y" * 500)
    assert spot.ours == f"'...{'ä' * 25}x{'y' * 74}...'"
    assert spot.theirs == f"'...{'ä' * 25}z{'y' * 74}...'"


def test_a_program_is_shown_in_hexadecimal(tmp_path: Path) -> None:
    """Even where the place itself looks like text."""
    spot = spot_of(tmp_path, b"\x7fELF\0\0\0abcdefgh", b"\x7fELF\0\0\0abcdeXgh")
    assert (spot.what, spot.ours, spot.theirs, spot.details) == ("content, from byte 12", "66 67 68", "58 67 68", "")


def test_a_long_diff_is_cut(tmp_path: Path) -> None:
    """With the number of lines that are left out."""
    one = "".join(f"{number}\n" for number in range(500))
    spot = spot_of(tmp_path, one.encode(), one.replace("\n", "!\n").encode())
    assert spot.details.count("\n") == file_diff.DIFF_LINES
    assert spot.details.endswith("more lines)")


def test_a_file_too_large_to_look_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its digests tell that it differs."""
    monkeypatch.setattr("builder.inspection.compare.LARGEST", 5)
    (difference,) = found(tmp_path, [Item("a", b"aaaaaab")], [Item("a", b"aaaaaac")])
    assert difference.what.startswith("content, after the first")
    assert "7 bytes, sha256 " in difference.ours
