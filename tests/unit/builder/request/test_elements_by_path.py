"""Elements that are named by their paths, and outputs in the spelling of others, are what they would be otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from blockdev.core.errors import UsageError
from builder.request.option_values import options_of, with_elements
from builder.request.options import BuildOptions


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("mine/motd", "mine/other", "theirs/web"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "mine")
    return tmp_path


@pytest.mark.parametrize("spelling", ["./motd", "../mine/motd", "motd/", "{}/mine/motd", "{}/mine/motd/"])
def test_the_folder_of_a_path_is_searched_first(folder: Path, spelling: str) -> None:
    options = BuildOptions(elements=("debian-minimal", spelling.format(folder)), elements_path="a:b")
    found = with_elements(options, {"ELEMENTS_PATH": "c"})
    assert found.elements == ("debian-minimal", "motd")
    assert found.elements_path == f"{folder}/mine:a:b"


def test_the_environments_folders_come_after_it(folder: Path) -> None:
    found = with_elements(BuildOptions(elements=("./motd", "./other", "../theirs/web")), {"ELEMENTS_PATH": "c"})
    assert found.elements == ("motd", "other", "web")
    assert found.elements_path == f"{folder}/mine:{folder}/theirs:c"


def test_names_are_left_as_they_are(folder: Path) -> None:
    options = BuildOptions(elements=("motd", "vm"))
    assert with_elements(options, {"ELEMENTS_PATH": "c"}) is options


def test_a_path_that_leads_nowhere_names_the_nearest(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no element \./modt") as caught:
        with_elements(BuildOptions(elements=("./modt",)), {})
    assert "motd" in caught.value.hint
    with pytest.raises(UsageError, match="there is no element nowhere/at/all"):
        with_elements(BuildOptions(elements=("nowhere/at/all",)), {})


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("type=oci", "oci"),
        ("type=oci,dest=/srv/a.oci", "oci,dest=/srv/a.oci"),
        ("dest=/srv/a.tar,type=tar,compress=zstd", "tar,dest=/srv/a.tar,compress=zstd"),
        ("oci,tag=type=x", "oci,tag=type=x"),
    ],
)
def test_an_output_is_spelled_in_two_ways(typed: str, meant: str) -> None:
    assert options_of({"outputs": (typed,)}).outputs == (meant,)
