"""Resolving elements: what of a small change in the code nothing else would notice."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from blockdev.core.errors import UsageError
from stages.element.resolve import Element, Resolution, expand, find_elements, read_element, resolve


def element(name: str, *, deps: tuple[str, ...] = (), provides: tuple[str, ...] = (), image: str = "") -> Element:
    return Element(name, Path("/elements") / name, deps, provides, build_image=image)


OS = element("os", provides=("operating-system",))


def universe(*elements: Element) -> dict[str, Element]:
    return {each.name: each for each in (OS, *elements)}


def test_values_of_elements_are_fixed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        OS.name = "x"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        resolve(["os"], universe()).notes = ()  # type: ignore[misc]


def test_elements_that_want_one_build_image_get_it() -> None:
    first, second, third = (element(name, image=image) for name, image in (("a", "x"), ("b", "x"), ("c", "y")))
    assert Resolution((OS,), OS).build_image == ""
    assert Resolution((OS, first), OS).build_image == "x"
    assert Resolution((first, second), OS).build_image == "x"
    with pytest.raises(UsageError, match=r"different build images: b \(x\) and c \(y\)"):
        _ = Resolution((second, third), OS).build_image


def test_the_one_name_in_a_build_image_file(tmp_path: Path) -> None:
    (tmp_path / "e").mkdir()
    (tmp_path / "e/build-image").write_text("rpm\n")
    assert (read_element(tmp_path / "e").build_image, read_element(tmp_path / "e").fault) == ("rpm", None)
    (tmp_path / "e/build-image").write_text("rpm\ndebian\n")
    fault = read_element(tmp_path / "e").fault
    assert fault is not None
    assert fault.where == f"{tmp_path}/e/build-image:2"


def test_a_file_in_an_elements_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "os").mkdir()
    (tmp_path / "os/element-provides").write_text("operating-system\n")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="'file' is a file, not an element's folder") as error:
        resolve(["os", "file"], find_elements([tmp_path]))
    assert error.value.where == str(tmp_path / "file")


def test_a_folder_that_is_found_twice_shadows_nothing(tmp_path: Path) -> None:
    for number in ("2", "1", "3"):
        (tmp_path / number / "e").mkdir(parents=True)
    paths = [tmp_path / number for number in ("2", "2", "1", "3", "1", "2")]
    (only,) = find_elements(paths).values()
    assert only.path == tmp_path / "2/e"
    assert only.shadows == (tmp_path / "1/e", tmp_path / "3/e")


@pytest.mark.parametrize("name", ["a", "m", "z"])
def test_an_element_may_stand_for_itself(name: str) -> None:
    own = element(name, provides=(name, "other"), deps=("need",))
    need = element("need")
    chosen = resolve(["os", name], universe(own, need))
    assert chosen.names == tuple(sorted(("os", name, "need")))


@pytest.mark.parametrize("virtual", ["aa", "zz"])
def test_what_an_element_provides_is_not_looked_at_behind_it(virtual: str) -> None:
    provider, other = element("m", provides=(virtual,)), element(virtual, deps=("need",))
    kept = expand(
        ["os", "m", "user"], universe(provider, other, element("need"), element("user", deps=(virtual,)))
    ).kept
    assert sorted(kept) == ["m", "os", "user"]


@pytest.mark.parametrize("name", ["a", "z"])
def test_what_another_element_stands_for_cannot_be_asked_for(name: str) -> None:
    with pytest.raises(UsageError, match=f"'{name}' was asked for, but 'm' stands in for it"):
        resolve(["os", name, "m"], universe(element(name), element("m", provides=(name,))))


@pytest.mark.parametrize("virtual", ["a", "z"])
def test_of_what_one_element_needs_those_that_another_provides_come_last(virtual: str) -> None:
    one, other = element(virtual, deps=("need",)), element("m", provides=(virtual,))
    kept = expand(["os", "user"], universe(one, other, element("need"), element("user", deps=(virtual, "m")))).kept
    assert sorted(kept) == ["m", "os", "user"]
