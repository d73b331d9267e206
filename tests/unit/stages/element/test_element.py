"""Finding elements on a path and resolving them into the set of one image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from blockdev.core.errors import UsageError
from stages.element.resolve import find_elements, resolve


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


def test_a_comment_in_element_deps_is_refused_with_its_line(tmp_path: Path) -> None:
    make(tmp_path, {"a": {"element-deps": "b\n# why\n"}})
    with pytest.raises(UsageError) as caught:
        find_elements([tmp_path])
    assert caught.value.where.endswith("element-deps:2")


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        find_elements([tmp_path / "nothing"])
