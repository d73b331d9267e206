"""An overlay upper directory as a layer changeset: whiteouts, opaque directories, links."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from blockdev.core.errors import BuildError
from stages.outputs.formats.tree_tar import write_changes

EPOCH = 1_700_000_000


def changes(upper: Path) -> dict[str, tarfile.TarInfo]:
    out = io.BytesIO()
    result = write_changes(upper, out, epoch=EPOCH)
    assert result.bytes == len(out.getvalue())
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as tar:
        members = tar.getmembers()
    assert result.entries == len(members)
    return {member.name: member for member in members}


def remove(path: Path) -> None:
    """Leave what the overlay leaves for a removed file; the kernel lets everybody make this one device."""
    os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))


def test_whiteouts(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    remove(tmp_path / "gone")
    remove(tmp_path / "d/gone")
    found = changes(tmp_path)
    assert list(found) == [".", ".wh.gone", "d", "d/.wh.gone"]
    for name in (".wh.gone", "d/.wh.gone"):
        assert found[name].isreg()
        assert (found[name].size, found[name].uid, found[name].mtime) == (0, 0, EPOCH)


def test_whiteouts_that_share_one_inode_are_no_hard_links(tmp_path: Path) -> None:
    remove(tmp_path / "a")
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    found = changes(tmp_path)
    assert list(found) == [".", ".wh.a", ".wh.b"]
    assert all(found[name].isreg() for name in (".wh.a", ".wh.b"))


def test_whiteouts_as_attributes(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    os.setxattr(folder, "user.overlay.opaque", b"x")
    (folder / "gone").touch()
    os.setxattr(folder / "gone", "user.overlay.whiteout", b"")
    (folder / "here").touch()
    # "x" announces such whiteouts; what lies below the directory still shows
    assert list(changes(tmp_path)) == [".", "d", "d/.wh.gone", "d/here"]


def test_the_opaque_mark_follows_its_directory_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    os.setxattr(folder, "user.overlay.opaque", b"y")
    for name in ("!first", "-first", "sub/file"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    (tmp_path / "d-other").touch()
    found = changes(tmp_path)
    assert list(found) == [".", "d", "d/.wh..wh..opq", "d-other", "d/!first", "d/-first", "d/sub", "d/sub/file"]
    assert not any(name.startswith("SCHILY") for name in found["d"].pax_headers)


def test_hard_links_inside_one_layer(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("content")
    (tmp_path / "a").hardlink_to(tmp_path / "b")
    found = changes(tmp_path)
    assert found["a"].isreg()
    assert found["b"].islnk()
    assert found["b"].linkname == "a"


def test_a_file_that_looks_like_a_whiteout_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".wh.passwd").touch()
    with pytest.raises(BuildError) as error:
        changes(tmp_path)
    assert error.value.where == "/.wh.passwd"


def test_an_ordinary_device_is_left_out(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        os.mknod(tmp_path / "null", stat.S_IFCHR, os.makedev(1, 3))
        os.mknod(tmp_path / "disk", stat.S_IFBLK, os.makedev(0, 0))
    assert list(changes(tmp_path)) == ["."]
