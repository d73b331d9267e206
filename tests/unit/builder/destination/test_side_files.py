"""What comes from a build container writes only where it may: nothing of the user's changes, inside or outside."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blockdev.core.errors import BuildError
from builder import destination
from builder.destination import bring_side_files, partial
from builder.destination.receive import receive
from builder.destination.side_files import FOLDER, is_of_image
from tests.examples import examples


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", data: bytes = b"", **more: object) -> bytes:
    """One member of a tar with its data."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, len(data)
    for field, value in more.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape") + data + bytes(-len(data) % 512)


def stream(*members: bytes) -> Iterator[bytes]:
    yield b"".join(members)
    yield bytes(10240)


def put(folder: Path, *members: bytes, name: str = "image", replace: bool = False) -> list[str]:
    """Put side files into a folder as a build does that has nothing else; their paths below it."""
    memory = destination.memory()
    with partial(folder / name) as place:
        side = bring_side_files(stream(member("artifact", tarfile.DIRTYPE), *members), place, folder, name)
        left = side.left_to_do(memory, replace=replace)
        memory.announce(left.coming)
        left.appear()
        memory.remember_all(left.coming, {})
    return ["/".join(parts) for parts in side.files]


def picture(folder: Path) -> dict[str, tuple[object, ...]]:
    """Everything below a folder: kinds, modes, contents, targets of links."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        status = path.lstat()
        content = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[str(path)] = (stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode), content)
    return found


# -- where files land


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("it.kernel", "it.kernel"),
        ("it.d/dib-manifest-dpkg-it", "it.d/dib-manifest-dpkg-it"),
        ("it-boot.iso", "it-boot.iso"),
        ("it", "it"),
        ("item", "it.files/item"),
        (".bashrc", "it.files/.bashrc"),
        (".ssh/authorized_keys", "it.files/.ssh/authorized_keys"),
        (".git/hooks/pre-commit", "it.files/.git/hooks/pre-commit"),
        ("Makefile", "it.files/Makefile"),
    ],
)
def test_only_files_named_after_the_image_lie_beside_it(tmp_path: Path, path: str, place: str) -> None:
    *above, _ = path.split("/")
    folders = [member(f"artifact/{'/'.join(above[: n + 1])}", tarfile.DIRTYPE) for n in range(len(above))]
    assert put(tmp_path, *folders, member(f"artifact/{path}", data=b"1"), name="it") == [place]
    assert (tmp_path / place).read_bytes() == b"1"


def test_a_short_name_makes_no_other_file_the_images_own() -> None:
    assert not is_of_image(("Makefile",), "M")
    assert is_of_image(("M.kernel",), "M")


def test_a_folder_for_the_files_alone_takes_all_names(tmp_path: Path) -> None:
    with partial(tmp_path / "x") as place:
        files = [member("artifact", tarfile.DIRTYPE), member("artifact/notes", data=b"1")]
        bring_side_files(stream(*files), place, tmp_path).appear()
    assert (tmp_path / "notes").read_bytes() == b"1"


# -- what is replaced


def test_a_file_of_an_earlier_build_is_replaced_and_one_that_was_edited_is_not(tmp_path: Path) -> None:
    for text in (b"1", b"22"):
        put(tmp_path, member("artifact/image.txt", data=text))
        assert (tmp_path / "image.txt").read_bytes() == text
    (tmp_path / "image.txt").write_text("mine")
    with pytest.raises(BuildError, match="left alone") as raised:
        put(tmp_path, member("artifact/image.kernel", data=b"3"), member("artifact/image.txt", data=b"3"))
    assert "--replace" in raised.value.hint
    assert (tmp_path / "image.txt").read_text() == "mine"
    assert not (tmp_path / "image.kernel").exists()  # all or nothing
    put(tmp_path, member("artifact/image.txt", data=b"3"), replace=True)
    assert (tmp_path / "image.txt").read_bytes() == b"3"


def test_a_build_that_was_killed_between_two_files_is_no_stranger(tmp_path: Path) -> None:
    put(tmp_path, member("artifact/image.a", data=b"1"), member("artifact/image.b", data=b"1"))
    memory = destination.memory()
    with partial(tmp_path / "image") as place:
        files = [member("artifact/image.a", data=b"22"), member("artifact/image.b", data=b"22")]
        side = bring_side_files(stream(member("artifact", tarfile.DIRTYPE), *files), place, tmp_path, "image")
        memory.announce(side.coming)
        (place / "store/artifact/image.a").rename(tmp_path / "image.a")  # and no more
    put(tmp_path, member("artifact/image.a", data=b"333"), member("artifact/image.b", data=b"333"))
    assert (tmp_path / "image.a").read_bytes() == (tmp_path / "image.b").read_bytes() == b"333"


def test_the_same_content_is_left_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "image.txt").write_text("same")
    before = (tmp_path / "image.txt").stat()
    put(tmp_path, member("artifact/image.txt", data=b"same"))
    assert (tmp_path / "image.txt").stat().st_ino == before.st_ino


@pytest.mark.parametrize("replace", [False, True])
def test_no_link_of_the_users_is_followed(tmp_path: Path, *, replace: bool) -> None:
    outside, dest = tmp_path / "outside", tmp_path / "dest"
    outside.mkdir()
    dest.mkdir()
    (outside / "keys").write_text("mine")
    (dest / "image.d").symlink_to(outside)
    (dest / "image.txt").symlink_to(outside / "keys")
    before = picture(outside)
    folder = member("artifact/image.d", tarfile.DIRTYPE)
    with pytest.raises(BuildError, match=r"image\.d is a link"):
        put(dest, folder, member("artifact/image.d/keys", data=b"bad"), replace=replace)
    if replace:
        put(dest, member("artifact/image.txt", data=b"new"), replace=True)
        assert not (dest / "image.txt").is_symlink()
    else:
        with pytest.raises(BuildError, match="left alone"):
            put(dest, member("artifact/image.txt", data=b"bad"))
    assert picture(outside) == before


def test_a_build_goes_through_a_link_that_the_user_named(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "way").symlink_to(tmp_path / "real")
    put(tmp_path / "way", member("artifact/image.txt", data=b"1"))
    assert (tmp_path / "real/image.txt").read_bytes() == b"1"


# -- what comes through


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("image.l", "/etc/passwd"),
        ("image.l", "../victim"),
        ("image.l", "image.d/../../victim"),
        ("image.l", "missing"),
        ("image.l", "."),
        ("image.d/l", "../../victim"),
        ("image.d/l", "s/../../../victim"),
        ("image.l", "other"),  # which lies elsewhere
    ],
)
def test_a_link_that_leaves_the_files_is_refused(tmp_path: Path, name: str, target: str) -> None:
    dest = tmp_path / "dest"
    dest.mkdir()
    files = [member("artifact/image.d", tarfile.DIRTYPE), member("artifact/image.d/f"), member("artifact/other")]
    up = member("artifact/image.d/s", tarfile.SYMTYPE, "f")
    with pytest.raises(BuildError, match="link to") as raised:
        put(dest, *files, up, member(f"artifact/{name}", tarfile.SYMTYPE, target))
    assert name in raised.value.where
    assert list(dest.iterdir()) == []


def test_a_link_to_a_file_beside_it_comes_through(tmp_path: Path) -> None:
    files = [member("artifact/image.d", tarfile.DIRTYPE), member("artifact/image.d/f", data=b"1")]
    links = [
        member("artifact/image.new", tarfile.SYMTYPE, "image.d/f"),
        member("artifact/image.d/g", tarfile.SYMTYPE, "f"),
    ]
    for _ in range(2):
        put(tmp_path, *files, *links)
    assert (tmp_path / "image.new").read_bytes() == (tmp_path / "image.d/g").read_bytes() == b"1"


@pytest.mark.parametrize(
    "bad",
    [
        member("../escaped", data=b"1"),
        member("/tmp/escaped", data=b"1"),
        member("artifact/../../escaped", data=b"1"),
        member("artifact/image.x", tarfile.CHRTYPE, devmajor=1, devminor=3),
        member("artifact/image.x", tarfile.BLKTYPE, devmajor=8),
        member("artifact/image.x", tarfile.FIFOTYPE),
        member("artifact/image.x", tarfile.LNKTYPE, "/etc/passwd"),
        member("artifact/image.x", tarfile.LNKTYPE, "../../victim"),
        member("artifact/image.x", tarfile.LNKTYPE, "artifact/missing"),
        member("artifact/image.x", tarfile.SYMTYPE, "f") + member("artifact/image.x", data=b"through the link"),
        member("artifact/image.x", tarfile.SYMTYPE, "..") + member("artifact/image.x/escaped", data=b"1"),
        member("artifact/image.x") + member("artifact/image.x"),
        member("artifact/" + "d/" * 70 + "f"),
        member("artifact", tarfile.SYMTYPE, "/etc"),
        member("x", b"x", data=b"9" * (2 << 20)),
        member("x", b"x", data=b"13 mtime=nan\n") + member("artifact/image.x"),
        member("artifact/image.x", data=b"1")[:200],
    ],
)
def test_hostile_streams_end_in_one_sentence_and_write_nothing(tmp_path: Path, bad: bytes) -> None:
    dest = tmp_path / "dest"
    dest.mkdir()
    before = picture(tmp_path)
    with pytest.raises(BuildError):
        put(dest, bad)
    after = {path: seen for path, seen in picture(tmp_path).items() if "/cache" not in path}
    assert after == before


def test_set_uid_bits_and_owners_stay_behind(tmp_path: Path) -> None:
    put(tmp_path, member("artifact/image.sh", data=b"1", mode=0o6777, uid=0, gid=12345))
    status = (tmp_path / "image.sh").stat()
    assert stat.S_IMODE(status.st_mode) & 0o7000 == 0
    assert (status.st_uid, status.st_gid) == (os.geteuid(), os.getegid())


def test_a_name_with_control_characters_is_shown_escaped(tmp_path: Path) -> None:
    with pytest.raises(BuildError) as raised:
        put(tmp_path, member("artifact/image.\x1b[2J\n", tarfile.FIFOTYPE))
    assert raised.value.where == r"artifact/image.\x1b[2J\n"


def test_holes_stay_holes(tmp_path: Path) -> None:
    data = io.BytesIO()
    source = tmp_path / "source"
    with source.open("wb") as file:
        file.truncate(64 << 20)
        file.seek(32 << 20)
        file.write(b"x")
    with tarfile.open(fileobj=data, mode="w") as archive:
        archive.add(source, "artifact")
    receive(iter([data.getvalue()]), tmp_path / "store")
    status = (tmp_path / "store/artifact").stat()
    assert status.st_size == 64 << 20
    assert status.st_blocks * 512 < 4 << 20
    assert (tmp_path / "store/artifact").read_bytes() == source.read_bytes()


# -- whatever comes

NAMES = st.sampled_from(
    ["image", "image.d", "image.txt", ".bashrc", ".ssh", "authorized_keys", "a", "..", ".", "", "-f"]
)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
TARGETS = st.one_of(PATHS, PATHS.map(lambda path: f"/{path}"), PATHS.map(lambda path: f"../{path}"))
KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
MEMBERS = st.builds(
    lambda path, kind, target: member(f"artifact/{path}", kind, target, b"bad" if kind == tarfile.REGTYPE else b""),
    PATHS,
    KINDS,
    TARGETS,
)


@given(st.lists(MEMBERS, max_size=8), st.lists(MEMBERS, max_size=5), st.booleans())
@settings(max_examples=examples(120), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_comes_nothing_of_the_users_changes(
    tmp_path_factory: pytest.TempPathFactory, first: list[bytes], second: list[bytes], replace: bool
) -> None:
    """Two builds one after the other, into a home with files and links out of it."""
    place = tmp_path_factory.mktemp("home")
    home, outside = place / "home", place / "outside"
    for folder in (home / ".ssh", home / "a", outside):
        folder.mkdir(parents=True)
    for file in (home / ".bashrc", home / ".ssh/authorized_keys", home / "a/a", outside / "a"):
        file.write_text("mine")
    (home / "image.d").symlink_to(outside)
    before = picture(place)
    for members in (first, second):
        with contextlib.suppress(BuildError):
            put(home, *members, replace=replace)
    after = picture(place)
    own = [home / "image", home / "image.txt", home / FOLDER.format("image")]
    own += [home / "image.d"] * replace  # the link itself may go then; what it leads to may not
    for seen in (before, after):
        for path in [path for path in seen if any(Path(path).is_relative_to(mine) for mine in own)]:
            del seen[path]
    assert after == before
