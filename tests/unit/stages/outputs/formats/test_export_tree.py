"""The tar of a tree: order, clamping, links, attributes, names; read back with the standard library's reader."""

from __future__ import annotations

import io
import os
import socket
import struct
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockdev.core.errors import BuildError
from stages.outputs.formats import tar_stream, tree_tar
from stages.outputs.formats.tar_stream import Member, TarStream
from stages.outputs.formats.tree_tar import plain_capability, write_tree

EPOCH = 1_700_000_000


def members(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
        return tar.getmembers()


def written(root: Path, *, epoch: int = EPOCH) -> bytes:
    out = io.BytesIO()
    result = write_tree(root, out, epoch=epoch)
    assert result.bytes == len(out.getvalue())
    assert result.entries == len(members(out.getvalue()))
    return out.getvalue()


def one(data: bytes, name: str) -> tarfile.TarInfo:
    return next(member for member in members(data) if member.name == name)


def test_members_are_sorted_bytewise_by_path(tmp_path: Path) -> None:
    for name in ("b", "a/z", "a-b", "a.b", "B", "a/y/x"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    names = [member.name for member in members(written(tmp_path))]
    assert names == [".", "B", "a", "a-b", "a.b", "a/y", "a/y/x", "a/z", "b"]


def test_root_comes_first_with_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o1751)
    data = written(tmp_path)
    assert data.startswith(b"./\0")
    assert members(data)[0].isdir()
    assert members(data)[0].mode == 0o1751


def test_times_after_the_epoch_become_the_epoch(tmp_path: Path) -> None:
    for name, time in (("old", 1_000_000_000), ("new", EPOCH + 5)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, ns=(0, time * 10**9 + 999_999_999))
    data = written(tmp_path)
    assert one(data, "old").mtime == 1_000_000_000
    assert one(data, "new").mtime == EPOCH
    assert one(data, ".").mtime == EPOCH


def test_times_before_1970_are_kept(tmp_path: Path) -> None:
    (tmp_path / "ancient").touch()
    os.utime(tmp_path / "ancient", (-1_000, -1_000))
    assert one(written(tmp_path), "ancient").mtime == -1_000


def test_owners_are_numbers_only(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    member = one(written(tmp_path), "file")
    assert (member.uid, member.gid, member.uname, member.gname) == (os.getuid(), os.getgid(), "", "")


def test_first_name_of_a_hard_link_is_the_file(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("content")
    for name in ("z", "a"):
        (tmp_path / name).hardlink_to(tmp_path / "m")
    (tmp_path / "other").write_text("content")
    data = written(tmp_path)
    assert [(m.name, m.islnk(), m.linkname, m.size) for m in members(data)[1:]] == [
        ("a", False, "", 7),
        ("m", True, "a", 0),
        ("other", False, "", 7),
        ("z", True, "a", 0),
    ]


def test_a_link_to_a_file_outside_the_tree_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("content")
    root = tmp_path / "root"
    root.mkdir()
    (root / "inside").hardlink_to(tmp_path / "outside")
    assert one(written(root), "inside").isreg()


def test_kinds(tmp_path: Path) -> None:
    (tmp_path / "symlink").symlink_to("/no/where")
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "fifo").chmod(0o640)
    (tmp_path / "suid").touch()
    (tmp_path / "suid").chmod(0o4755)
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(tmp_path)  # a socket's path may have 107 bytes only
        try:
            server.bind("socket")
        finally:
            os.chdir(here)
        data = written(tmp_path)
    assert [member.name for member in members(data)] == [".", "fifo", "suid", "symlink"]
    assert one(data, "fifo").isfifo()
    assert one(data, "fifo").mode == 0o640
    assert one(data, "suid").mode == 0o4755
    assert one(data, "symlink").linkname == "/no/where"


def test_odd_and_long_names(tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff\xfe \n\x01=")
    long = "/".join(["d" * 90, "e" * 200, "f" * 250])
    (tmp_path / odd).write_text("odd")
    (tmp_path / long).parent.mkdir(parents=True)
    (tmp_path / long).write_text("long")
    (tmp_path / "grün").symlink_to("t" * 180 + os.fsdecode(b"\xff"))
    data = written(tmp_path)
    assert one(data, odd).size == 3
    assert one(data, long).size == 4
    assert one(data, "grün").linkname == "t" * 180 + os.fsdecode(b"\xff")


@pytest.mark.parametrize("length", [99, 100, 101])
def test_names_about_the_limit_of_the_header(tmp_path: Path, length: int) -> None:
    (tmp_path / ("n" * length)).write_text("x")
    assert one(written(tmp_path), "n" * length).size == 1


def test_attributes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    os.setxattr(path, "user.binary", b"\0\xff=\n\0")
    os.setxattr(path, "user.empty", b"")
    os.setxattr(path, "user.overlay.opaque", b"y")
    os.setxattr(path, "user.overlay.overlay.opaque", b"y")
    headers = one(written(tmp_path), "file").pax_headers
    values = {name: os.fsencode(value) for name, value in headers.items() if name.startswith("SCHILY.xattr.")}
    assert values == {"SCHILY.xattr.user.binary": b"\0\xff=\n\0", "SCHILY.xattr.user.empty": b""}
    assert "hdrcharset" not in headers


def test_capabilities_lose_the_namespace_they_belong_to() -> None:
    words = (0x2000, 0, 0, 0)
    revision_3 = struct.pack("<6I", 0x03000001, *words, 100_000)
    revision_2 = struct.pack("<5I", 0x02000001, *words)
    assert plain_capability(revision_3) == revision_2
    assert plain_capability(revision_2) == revision_2


def test_a_large_file_is_streamed_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_stream, "_CHUNK", 1000)
    content = os.urandom(10_001)
    (tmp_path / "large").write_bytes(content)
    (tmp_path / "next").write_text("next")
    with tarfile.open(fileobj=io.BytesIO(written(tmp_path))) as tar:
        large, after = tar.extractfile("large"), tar.extractfile("next")
        assert large is not None
        assert large.read() == content
        assert after is not None
        assert after.read() == b"next"


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_a_file_that_shrinks_is_an_error(tmp_path: Path, size: int) -> None:
    (tmp_path / "log").write_bytes(bytes(size - 1))
    with pytest.raises(BuildError, match="became shorter"):
        TarStream(io.BytesIO()).add_file(Member(b"log", tar_stream.FILE, size=size), bytes(tmp_path / "log"))


def test_a_file_that_grows_keeps_the_length_in_its_header(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"x" * 20)
    out = io.BytesIO()
    stream = TarStream(out)
    stream.add_file(Member(b"log", tar_stream.FILE, size=10), bytes(tmp_path / "log"))
    stream.close()
    assert [(m.name, m.size) for m in members(out.getvalue())] == [("log", 10)]


def test_numbers_too_large_for_the_header() -> None:
    head = tar_stream.header(Member(b"f", tar_stream.FILE, uid=3_000_000, gid=2**31, size=2**34, mtime=2**34))
    with tarfile.open(fileobj=io.BytesIO(head + bytes(1024))) as tar:
        member = tar.next()
    assert member is not None
    assert (member.uid, member.gid, member.size, member.mtime) == (3_000_000, 2**31, 2**34, 2**34)


@given(value=st.binary(max_size=1200), name=st.text("ab", min_size=1, max_size=120))
def test_every_attribute_comes_back(value: bytes, name: str) -> None:
    member = Member(name.encode(), tar_stream.FILE, xattrs={"user.x": value})
    (back,) = members(tar_stream.header(member) + bytes(1024))
    assert back.name == name
    assert os.fsencode(back.pax_headers["SCHILY.xattr.user.x"]) == value


def test_whiteout_names_are_refused_in_a_layer_only(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/.wh.passwd").touch()
    assert one(written(tmp_path), "etc/.wh.passwd").isreg()
    with pytest.raises(BuildError, match=r"\.wh\.") as error:
        write_tree(tmp_path, io.BytesIO(), epoch=EPOCH, layer=True)
    assert error.value.where == "/etc/.wh.passwd"


def test_two_runs_write_the_same_bytes_whatever_the_order_on_disk(tmp_path: Path) -> None:
    names = [f"file{number}" for number in range(50)]
    for folder, order in (("one", names), ("two", names[::-1])):
        (tmp_path / folder).mkdir(mode=0o755)
        for name in order:
            (tmp_path / folder / name).write_text(name)
    one_, two = written(tmp_path / "one"), written(tmp_path / "two")
    assert one_ == two
    assert len(one_) % 10_240 == 0


def test_no_user_overlay_attribute_travels() -> None:
    assert not tree_tar._travels("user.overlay.origin")
    assert not tree_tar._travels("trusted.overlay.opaque")
    assert not tree_tar._travels("security.selinux")
    assert tree_tar._travels("security.capability")
    assert tree_tar._travels("system.posix_acl_default")
