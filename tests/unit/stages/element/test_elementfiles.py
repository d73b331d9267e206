"""A link in an element gives its scripts no file of the user: it leads into an elements path, or is refused."""

from __future__ import annotations

import io
import os
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from blockdev.core.errors import UsageError
from builder.base_image import choose
from builder.build.request_archive import request_archive
from builder.request.options import BuildOptions
from builder.request.prepare import prepare
from stages.element.files import check_links, read_file
from stages.element.hooks import merge, read_folder
from stages.element.resolve import Element, find_elements
from stages.protocol.request import Request


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    """An element's folder on an elements path; beside that path a private file, and a folder with one."""
    (tmp_path / "private/folder").mkdir(parents=True)
    (tmp_path / "private/key").write_text("private-words")
    (tmp_path / "private/folder/key").write_text("private-words")
    folder = tmp_path / "elements/evil"
    (folder / "root.d").mkdir(parents=True)
    (folder / "element-provides").write_text("operating-system\n")
    (folder / "root.d/10-os").write_text("#!/bin/sh\n")
    (folder / "root.d/10-os").chmod(0o755)
    return folder


def element(folder: Path, *more: Path) -> Element:
    return find_elements([folder.parent, *more])[folder.name]


def folder_that_is_a_link(evil: Path) -> None:
    (evil / "install.d").symlink_to("../../private/folder")


def chain(evil: Path) -> None:
    (evil / "a").symlink_to("b")
    (evil / "b").symlink_to("root.d/c")
    (evil / "root.d/c").symlink_to("../../../private/key")


def link_behind_a_link(evil: Path) -> None:
    (evil.parent / "other").mkdir()
    (evil.parent / "other/key").symlink_to("../../private/key")
    (evil / "more").symlink_to("../other")


def element_that_is_a_link(evil: Path) -> None:
    evil.rename(evil.parents[1] / "evil")
    evil.symlink_to("../evil")


OUT: list[Callable[[Path], object]] = [
    lambda evil: (evil / "data").symlink_to(evil.parents[1] / "private/key"),
    lambda evil: (evil / "data").symlink_to("../../private/key"),
    lambda evil: (evil / "root.d/data").symlink_to("../../../private/folder/../key"),
    lambda evil: (evil / "README.md").symlink_to("/etc/passwd"),
    lambda evil: (evil / "element-deps").symlink_to("/etc/hostname"),
    lambda evil: (evil / "data").symlink_to("/proc/self/environ"),
    lambda evil: (evil / "data").symlink_to("/proc/self/root/etc/passwd"),
    lambda evil: (evil / "data").symlink_to("/proc/self/fd/0"),
    lambda evil: (evil / "data").symlink_to("/dev/zero"),
    lambda evil: (evil / "root.d/deep").symlink_to("/"),
    folder_that_is_a_link,
    chain,
    link_behind_a_link,
    element_that_is_a_link,
]


@pytest.mark.parametrize("make", OUT)
def test_a_link_out_of_the_elements_is_refused(evil: Path, make: Callable[[Path], object]) -> None:
    make(evil)
    with pytest.raises(UsageError) as caught:
        check_links([element(evil)])
    assert "lies in no elements path" in caught.value.what
    assert caught.value.exit_status == 2


def test_it_is_refused_before_any_work(evil: Path) -> None:
    chain(evil)
    with pytest.raises(UsageError, match=rf"{evil}/a is a link to .*/private/key, which lies in no elements path"):
        prepare("build", BuildOptions(("evil",), elements_path=str(evil.parent)), {})


def test_a_link_into_an_elements_path_that_the_user_named_is_followed(evil: Path, tmp_path: Path) -> None:
    folder_that_is_a_link(evil)
    (evil / "own").symlink_to("root.d/10-os")
    (evil / "own.d").symlink_to("root.d")
    found = element(evil, tmp_path / "private")
    check_links([found])
    assert read_file(found, evil / "install.d/key")[0] == b"private-words"
    assert read_file(found, evil / "own.d/10-os") == read_file(found, evil / "own")


def test_links_for_the_image_stay(evil: Path) -> None:
    (evil / "static/etc").mkdir(parents=True)
    for name, target in (("a", "/etc/passwd"), ("b", "nowhere"), ("c", ".."), ("d", "/")):
        (evil / "static/etc" / name).symlink_to(target)
    check_links([element(evil)])


def pipe(evil: Path) -> None:
    os.mkfifo(evil / "odd")


def endpoint(evil: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        before = Path.cwd()
        os.chdir(evil)
        one.bind("odd")
        os.chdir(before)


def link_to_a_pipe(evil: Path) -> None:
    os.mkfifo(evil.parent / "pipe")
    (evil / "odd").symlink_to("../pipe")


def pipe_for_the_image(evil: Path) -> None:
    (evil / "static").mkdir()
    os.mkfifo(evil / "static/odd")


@pytest.mark.parametrize("make", [pipe, endpoint, link_to_a_pipe, pipe_for_the_image])
def test_what_is_no_file_is_refused(evil: Path, make: Callable[[Path], None]) -> None:
    make(evil)
    with pytest.raises(UsageError, match="odd is neither a file nor a folder"):
        check_links([element(evil)])


@pytest.mark.parametrize("target", [".", "..", "../../evil/root.d", "../../../elements"])
def test_circles_end(evil: Path, target: str) -> None:
    (evil / "root.d/again").symlink_to(target)
    with pytest.raises(UsageError, match="a folder that it lies in"):
        check_links([element(evil)])


@pytest.mark.parametrize("target", ["50-self", "../nothing", "/nowhere/nothing", "../static/none"])
def test_a_link_to_nothing_is_left_out_with_a_word(evil: Path, target: str) -> None:
    (evil / "root.d/50-self").symlink_to(target)
    said = f"element evil: root.d/50-self is a link to {target}, which is not there: it is left out"
    assert check_links([element(evil)]) == (said,)
    assert {*members(element(evil))} == {"request.json", "elements/evil", *own_members(evil)}
    assert set(merge([("evil", evil)])) == {"root.d/10-os"}
    assert "root.d/50-self" not in read_folder("evil", evil)


def members(*found: Element) -> dict[str, bytes]:
    """What travels of these elements, by name."""
    with tarfile.open(fileobj=io.BytesIO(request_archive(Request("build"), found))) as archive:
        return {each.name: (archive.extractfile(each) or io.BytesIO()).read() for each in archive}


def own_members(evil: Path) -> set[str]:
    return {f"elements/evil/{file.relative_to(evil)}" for file in evil.rglob("*") if file.is_file()}


def test_a_link_to_what_another_element_merges_there_is_that_file(evil: Path) -> None:
    """In the merged folder ../bin/it is anybody's bin/it."""
    other = evil.parent / "other"
    (other / "bin").mkdir(parents=True)
    (other / "bin/it").write_text("#!/bin/sh\necho it\n")
    (evil / "root.d/50-it").symlink_to("../bin/it")
    found = (element(evil), element(other))
    assert check_links(found) == ()
    assert members(*found)["elements/evil/root.d/50-it"] == b"#!/bin/sh\necho it\n"
    assert "elements/evil/root.d/50-it" not in members(element(evil))


def test_a_script_that_diskimage_builder_would_not_find_is_run_with_a_word(evil: Path) -> None:
    other = evil.parent / "other"
    (other / "bin").mkdir(parents=True)
    (other / "bin/it").write_text("#!/bin/sh\n")
    (other / "bin/it").chmod(0o755)
    (evil / "install.d").mkdir()
    for place, target in {
        "root.d/50-out": "../../other/bin/it",
        "root.d/51-whole": str(other / "bin/it"),
        "install.d/52-whole": str(other / "bin/it"),
        "root.d/53-own": "10-os",
        "root.d/data": "../element-provides",
    }.items():
        (evil / place).symlink_to(target)
    first, second = check_links([element(evil)])
    assert first.startswith(f"element evil: install.d/52-whole is a link to {other}/bin/it: it is run")
    assert second.startswith("element evil: root.d/50-out is a link to ../../other/bin/it: it is run")


def test_what_was_looked_at_is_looked_at_again_when_it_is_read(evil: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that becomes a link between the look and the reading, or while it is read."""
    found, file = element(evil), evil / "root.d/10-os"
    check_links([found])
    file.unlink()
    file.symlink_to("../../../private/key")
    with pytest.raises(UsageError, match="lies in no elements path"):
        read_file(found, file)
    monkeypatch.setattr(Path, "resolve", lambda self, strict=False: self)  # as if it became one only now
    with pytest.raises(UsageError):
        read_file(found, file)
    file.unlink()
    (evil / "root.d").rmdir()
    (evil / "root.d").symlink_to("../../private/folder")
    with pytest.raises(UsageError):
        read_file(found, evil / "root.d/key")


@pytest.mark.parametrize(
    "line",
    [
        "export DIB_CONTAINERFILE_DOCKERFILE=/etc/passwd",
        "export DIB_CONTAINER_CONTEXT=${DIB_CONTAINER_CONTEXT:-/etc}",
        "export DIB_CONTAINER_IMAGE=oci-archive:/etc/passwd",
        "export DIB_CONTAINERFILE_BUILDOPTS=--volume=/etc:/x",
        "export DIB_CONTAINERFILE_BUILDOPTS=--build-arg-file=/etc/passwd",
    ],
)
def test_an_element_names_no_file_of_the_machine_to_begin_with(evil: Path, line: str) -> None:
    (evil / "environment.d").mkdir()
    (evil / "environment.d/10-x").write_text(f"{line}\n")
    with pytest.raises(UsageError, match="an element sets DIB_"):
        choose.of_elements([element(evil)], {})
    variable, _, value = line.removeprefix("export ").partition("=")
    given = {variable: value.removeprefix(f"${{{variable}:-").removesuffix("}")}
    (evil / "container-image").write_text("* some/image:1\n")
    choose.of_elements([element(evil)], {"DIB_RELEASE": "1", **given})  # the user may
