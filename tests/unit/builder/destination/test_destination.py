"""Outputs land whole or not at all, and not again while they are what they were."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from blockdev.core.errors import BuildError, UsageError
from builder import destination
from builder.destination import Memory, bring_side_files, check_targets, fingerprint, partial, place_output, target_of
from builder.destination.place import _only_nodes
from stages.protocol.request import Output


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def tar(files: Mapping[str, bytes | str | None], *, mode: int = 0o755) -> bytes:
    """A tar of files (bytes), symbolic links (text) and folders (None)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.mode = 0o644
            member.uid, member.gid = os.geteuid(), os.getegid()
            if data is None:
                member.type, member.mode = tarfile.DIRTYPE, mode
            elif isinstance(data, str):
                member.type, member.linkname = tarfile.SYMTYPE, data
            else:
                member.size = len(data)
            archive.addfile(member, io.BytesIO(data) if isinstance(data, bytes) else None)
    return buffer.getvalue()


def pieces(data: bytes, size: int = 700) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


OCI = {"artifact": None, "artifact/oci-layout": b"{}", "artifact/blobs": None, "artifact/blobs/a": b"new"}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_outputs_name_follows_its_type() -> None:
    folder = Path("/srv")
    found = [
        target_of(Output(kind, options), "a", folder).name
        for kind, options in (
            ("oci", {}),
            ("oci-archive", {}),
            ("docker-archive", {}),
            ("tar", {}),
            ("tar", {"compress": "gzip"}),
            ("tar", {"compress": "zstd"}),
            ("dir", {}),
        )
    ]
    assert found == ["a.oci", "a.oci.tar", "a.docker.tar", "a.tar", "a.tar.gz", "a.tar.zst", "a.dir"]
    assert target_of(Output("tar", {"dest": "/x/y"}), "a", folder) == Path("/x/y")


def test_a_folder_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    target = tmp_path / "out" / "image.oci"
    place_output(pieces(tar({**OCI, "artifact/blobs/old": b"old"})), "oci", target)
    assert names(target / "blobs") == ["a", "old"]
    place_output(pieces(tar(OCI)), "oci", target)
    assert names(target / "blobs") == ["a"]
    assert names(target.parent) == ["image.oci"]


def test_a_file_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    target = tmp_path / "image.tar"
    target.write_text("old")
    place_output(pieces(tar({"artifact": b"new"})), "tar", target)
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == ["image.tar"]


def test_a_tree_with_closed_folders_is_unpacked_and_replaced(tmp_path: Path) -> None:
    target = tmp_path / "image.dir"
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    tree = tar({"etc": None, "etc/a": b"1", "link": str(outside), "closed": None, "closed/b": b""}, mode=0o555)
    for _ in range(2):
        place_output(pieces(tar({"artifact": tree})), "dir", target)
    assert (target / "etc/a").read_bytes() == b"1"
    assert (target / "closed").stat().st_mode & 0o777 == 0o555
    assert outside.stat().st_mode & 0o777 == 0o755
    assert names(tmp_path) == ["image.dir", "outside"]
    destination.remove(target)


def broken(data: bytes) -> Iterator[bytes]:
    yield data[: len(data) // 2]
    raise KeyboardInterrupt


def test_what_is_interrupted_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "image.oci"
    place_output(pieces(tar(OCI)), "oci", target)
    before = fingerprint(target)
    with pytest.raises(KeyboardInterrupt):
        place_output(broken(tar({**OCI, "artifact/blobs/a": b"x" * 9999})), "oci", target)
    assert fingerprint(target) == before
    assert names(tmp_path) == ["image.oci"]


def test_a_stream_that_ends_early_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="cannot be written"):
        place_output(pieces(tar({"artifact": b"x" * 9999})[:5000]), "tar", tmp_path / "image.tar")
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["../escaped", "artifact/../../escaped"])
def test_no_member_gets_out_of_the_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "inside").mkdir()
    with pytest.raises(BuildError):
        place_output(pieces(tar({"artifact": None, name: b"bad"})), "oci", tmp_path / "inside" / "image.oci")
    assert not list(tmp_path.rglob("escaped"))
    assert names(tmp_path / "inside") == []


def test_a_member_behind_a_link_stays_in_the_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    archive = tar({"artifact": None, "artifact/out": str(outside), "artifact/out/bad": b"bad"})
    with pytest.raises(BuildError):
        place_output(pieces(archive), "oci", tmp_path / "image.oci")
    assert names(outside) == []


def test_an_unwritable_place_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BuildError, match="cannot be written"):
        place_output(pieces(tar({"artifact": b""})), "tar", tmp_path / "file" / "image.tar")


def test_nodes_that_may_not_be_made_are_left_out_of_a_tree(tmp_path: Path) -> None:
    """Also as root without the capability: the test runs tar in a bounding set without it."""
    node = tarfile.TarInfo("null")
    node.type, node.devmajor, node.devminor = tarfile.CHRTYPE, 1, 3
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        archive.addfile(node)
        archive.addfile(tarfile.TarInfo("file"))
    code = "import sys; from pathlib import Path; from builder.destination import unpack;"
    code += "unpack([sys.stdin.buffer.read()], Path(sys.argv[1]))"
    as_root = ["setpriv", "--bounding-set=-mknod"] if os.geteuid() == 0 else []
    command = [*as_root, sys.executable, "-c", code, str(tmp_path / "tree")]
    subprocess.run(command, input=data.getvalue(), check=True)
    assert [path.name for path in (tmp_path / "tree").iterdir()] == ["file"]
    assert not _only_nodes("tar: null: Cannot open: No space left on device")


def test_memory_holds_while_the_output_is_untouched(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "notes" / "outputs.json")
    target = tmp_path / "image.oci"
    place_output(pieces(tar(OCI)), "oci", target)
    assert memory.recall(target) == ""
    memory.remember(target, "key")
    assert memory.recall(target) == "key"
    (target / "blobs/a").write_text("changed")
    assert memory.recall(target) == ""
    assert memory.knows(target)


def test_builds_at_once_remember_what_all_of_them_wrote(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "notes" / "outputs.json")
    targets = [tmp_path / f"{number}.tar" for number in range(24)]
    for target in targets:
        target.write_text("data")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda target: memory.remember(target, target.stem), targets))
    assert [memory.recall(target) for target in targets] == [target.stem for target in targets]


@pytest.mark.parametrize("text", ["{", "[]", '{"PATH": 1}', '{"PATH": {}}', '{"PATH": {"key": 1, "fingerprint": "x"}}'])
def test_memory_survives_a_broken_file(tmp_path: Path, text: str) -> None:
    memory = Memory(tmp_path / "outputs.json")
    target = tmp_path / "image.tar"
    memory.file.write_text(text.replace("PATH", str(target)))
    assert not memory.wrote(target)
    target.write_text("a")
    assert memory.recall(target) == ""
    memory.remember(target, "key")
    assert memory.recall(target) == "key"


def put(
    files: Mapping[str, bytes | str | None], folder: Path, name: str = "image", *, replace: bool = False
) -> list[str]:
    """Put side files into a folder, as a build does that has nothing else."""
    memory = destination.memory()
    stream = pieces(tar({"artifact": None, **{f"artifact/{path}": data for path, data in files.items()}}))
    with partial(folder / "image") as place:
        side = bring_side_files(stream, place, folder, name)
        left = side.left_to_do(memory, replace=replace)
        memory.announce(left.coming)
        left.appear()
        memory.remember_all(left.coming, {})
    return ["/".join(parts) for parts in side.files]


def test_side_files_join_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "image.d").mkdir()
    (tmp_path / "image.d/own").write_text("kept")
    assert put({"image.d": None, "image.d/list": b"1", "image-boot.iso": b"2"}, tmp_path) == [
        "image-boot.iso",
        "image.d/list",
    ]
    assert names(tmp_path / "image.d") == ["list", "own"]


# -- what is refused before work starts


def check(kind: str, target: Path) -> None:
    check_targets([Output(kind)], [target])


def test_earlier_outputs_and_empty_folders_may_be_replaced(tmp_path: Path) -> None:
    place_output(pieces(tar(OCI)), "oci", tmp_path / "a.oci")
    destination.memory().remember(tmp_path / "a.oci", "key")
    check("oci", tmp_path / "a.oci")
    (tmp_path / "empty").mkdir()
    check("dir", tmp_path / "empty")
    (tmp_path / "a.tar").write_text("")  # as mktemp makes it
    check("tar", tmp_path / "a.tar")
    check("tar", tmp_path / "not/there/yet.tar")
    tree = tmp_path / "a.dir"
    place_output(pieces(tar({"artifact": tar({"etc": None})})), "dir", tree)
    destination.memory().remember(tree, "key")
    check("dir", tree)


@pytest.mark.parametrize("kind", ["oci", "dir", "tar"])
def test_a_folder_with_something_else_is_left_alone(tmp_path: Path, kind: str) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/thesis").write_text("years of work")
    with pytest.raises(UsageError, match="left alone"):
        check(kind, tmp_path / "home")


@pytest.mark.parametrize("kind", ["oci", "dir"])
def test_a_file_is_no_earlier_folder(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(UsageError, match="left alone"):
        check(kind, tmp_path / "a")
