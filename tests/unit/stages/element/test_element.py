"""Finding elements on a path and resolving them into the set of one image."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blockdev.core.errors import UsageError
from stages.element.resolve import Element, expand, find_elements, resolve


def make(root: Path, elements: Mapping[str, Mapping[str, str]]) -> Path:
    for name, files in elements.items():
        (root / name).mkdir(parents=True)
        for file, text in files.items():
            (root / name / file).write_text(text)
    return root


SYSTEM = {"element-provides": "operating-system\n"}


def test_dependencies_are_followed_and_sorted(tmp_path: Path) -> None:
    path = make(tmp_path, {"os": SYSTEM, "a": {"element-deps": "b\n\n"}, "b": {"element-deps": "c"}, "c": {}, "d": {}})
    found = resolve(["os", "a"], find_elements([path]))
    assert found.names == ("a", "b", "c", "os")
    assert found.operating_system.name == "os"


def test_a_dependency_cycle_is_just_a_set(tmp_path: Path) -> None:
    path = make(tmp_path, {"os": SYSTEM, "a": {"element-deps": "b"}, "b": {"element-deps": "a"}})
    assert resolve(["os", "a"], find_elements([path])).names == ("a", "b", "os")


def test_the_first_element_on_the_path_wins_and_knows_what_it_shadows(tmp_path: Path) -> None:
    first = make(tmp_path / "1", {"a": {}})
    second = make(tmp_path / "2", {"a": {"element-deps": "nowhere"}, "os": SYSTEM})
    found = find_elements([first, second])
    assert found["a"].path == first / "a"
    assert found["a"].shadows == (second / "a",)
    assert resolve(["os", "a"], found).names == ("a", "os")


def test_a_provider_replaces_what_it_provides_whatever_the_order(tmp_path: Path) -> None:
    path = make(
        tmp_path,
        {"os": SYSTEM, "vm": {"element-deps": "block-device"}, "gpt": {"element-provides": "block-device"}},
    )
    for asked in (["os", "vm", "gpt"], ["gpt", "vm", "os"]):
        assert resolve(asked, find_elements([path])).names == ("gpt", "os", "vm")


@pytest.mark.parametrize(
    ("asked", "what", "hint"),
    [
        (["os", "fedora-minmal"], "no element 'fedora-minmal'", "did you mean 'fedora-minimal'?"),
        (["os", "qqqq"], "no element 'qqqqs'", "`dib-ctr elements` lists all there are"),  # itself is not meant
        (["a"], "no element here is an operating system", "fedora-minimal, os"),
        (["os", "fedora-minimal"], "two operating systems in one image: fedora-minimal and os", "just one"),
        (["os", "needy"], "no element 'missing'", ""),
        (["os", "vm"], "nothing in this build provides 'block-device'", "gpt, mbr"),
        (["os", "mbr", "gpt"], "'block-device' is provided by both gpt and mbr", "leave one out"),
        (["os", "bootloader", "zipl"], "'bootloader' was asked for, but 'zipl' stands in for it", ""),
    ],
)
def test_what_cannot_be_resolved_is_refused(tmp_path: Path, asked: list[str], what: str, hint: str) -> None:
    path = make(
        tmp_path,
        {
            "os": SYSTEM,
            "fedora-minimal": SYSTEM,
            "a": {},
            "needy": {"element-deps": "missing"},
            "qqqq": {"element-deps": "qqqqs"},
            "vm": {"element-deps": "block-device"},
            "gpt": {"element-provides": "block-device"},
            "mbr": {"element-provides": "block-device"},
            "bootloader": {},
            "zipl": {"element-provides": "bootloader"},
        },
    )
    with pytest.raises(UsageError) as caught:
        resolve(asked, find_elements([path]))
    assert what in caught.value.what
    assert hint in caught.value.hint


def test_a_comment_in_element_deps_stops_the_images_that_the_element_is_in_and_no_other(tmp_path: Path) -> None:
    make(tmp_path, {"os": SYSTEM, "a": {"element-deps": "b\n# why\n"}, "b": {}, "c": {"element-deps": "a"}})
    found = find_elements([tmp_path])
    assert resolve(["os", "b"], found).names == ("b", "os")
    for asked in ("a", "c"):
        with pytest.raises(UsageError, match="'# why' is not an element's name") as caught:
            resolve(["os", asked], found)
        assert caught.value.where.endswith("element-deps:2")


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda file: file.symlink_to("/dev/zero")])
def test_names_that_cannot_be_read_stop_the_images_that_the_element_is_in_and_no_other(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    make(make_elements(tmp_path) / "a/element-deps")
    found = find_elements([tmp_path])
    assert resolve(["os"], found).names == ("os",)
    with pytest.raises(UsageError, match="element-deps is no file"):
        resolve(["os", "a"], found)


def make_elements(root: Path) -> Path:
    return make(root, {"os": SYSTEM, "a": {}, "b": {"build-image": "one\ntwo\n"}, "c": {}})


def test_faults_of_links_and_of_build_images_are_those_of_their_element(tmp_path: Path) -> None:
    make_elements(tmp_path)
    (tmp_path / "c/element-deps").symlink_to("element-deps")
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "circle").symlink_to("circle")
    found = find_elements([tmp_path])
    assert resolve(["os", "a"], found).names == ("a", "os")
    for name, what in {"b": "one build image at most", "c": "cannot be read"}.items():
        with pytest.raises(UsageError, match=what):
            resolve(["os", name], found)


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        find_elements([tmp_path / "nothing"])


def graph(text: str) -> dict[str, Element]:
    """Elements of lines ``NAME: NEEDS... > PROVIDES...``; os is the operating system."""
    found = {"os": Element("os", Path("/e/os"), provides=("operating-system",))}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, rest = line.partition(":")
        needs, _, provides = rest.partition(">")
        found[name] = Element(name, Path("/e") / name, tuple(needs.split()), tuple(provides.split()))
    return found


@pytest.mark.parametrize(
    ("text", "asked", "names"),
    [
        # d stands for v, and is not in the image, for c stands for b: w's v comes along itself.
        ("a: b\n c: > b\n b: d\n d: > v\n w: v\n v:", "a c w", "a c v w"),
        # d was looked at before c, which stands for it, came: what d needs is in the image all the same.
        ("a: d\n b: x\n x: c\n c: > d\n d: e\n e:", "a b", "a b c e x"),
        # ... but d does not stand for v any more.
        ("a: d w\n b: x\n x: c\n c: > d\n d: > v\n w: v\n v: u\n u:", "a b", "a b c u v w x"),
        # Of what one element needs, the one that stands for another goes first: e, which d needs, is not needed.
        ("a: d z\n z: > d\n d: e\n e:", "a", "a z"),
        # What provides is found after what is provided was asked for.
        ("a: v\n b: c\n c: > v", "a b", "a b c"),
        # An element that provides its own name is there.
        ("a: b\n b: > b", "a", "a b"),
    ],
)
def test_only_what_is_in_the_image_provides(text: str, asked: str, names: str) -> None:
    assert resolve(["os", *asked.split()], graph(text)).names == tuple(sorted(("os", *names.split())))


def test_what_only_an_element_provides_that_is_not_in_the_image_is_missing() -> None:
    with pytest.raises(UsageError, match="nothing in this build provides 'v'") as caught:
        resolve(["os", "a", "c", "w"], graph("a: b\n c: > b\n b: d\n d: > v\n w: v"))
    assert caught.value.where == "/e/w/element-deps"


def test_an_element_that_diskimage_builder_loses_is_told_about() -> None:
    found = resolve(["os", "a", "b"], graph("a: d w\n b: x\n x: c\n c: > d\n d: > v\n w: v\n v:"))
    (note,) = found.notes
    assert note.startswith("the element v is in the image; diskimage-builder would leave it out, for d provides it")


NAMES = st.sampled_from("abcdefgh")
ELEMENTS = st.dictionaries(NAMES, st.tuples(st.lists(NAMES, max_size=3), st.lists(NAMES, max_size=2)), min_size=2)


@given(ELEMENTS, st.lists(NAMES, min_size=1, max_size=3))
def test_each_need_of_an_image_is_in_it_or_provided_by_what_is(
    elements: dict[str, tuple[list[str], list[str]]], asked: list[str]
) -> None:
    universe = {name: Element(name, Path("/e") / name, tuple(d), tuple(p)) for name, (d, p) in elements.items()}
    found = expand(asked, universe)
    provided = {virtual for element in found.kept.values() for virtual in element.provides}
    needed = {*asked}.union(*(element.deps for element in found.kept.values()))
    assert needed - found.kept.keys() - provided == needed & found.missing.keys()
    assert not found.missing.keys() & (found.kept.keys() | universe.keys())
