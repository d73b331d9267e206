"""Who sets a variable that nothing reads hears of it, with the name that may be meant."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from builder.request.options import BuildOptions
from builder.request.prepare import prepare
from builder.request.unread_variables import KNOWN, PREFIXES, remarks
from stages.element.references import SETTINGS
from stages.element.resolve import Element, find_elements
from stages.plan import repository_use

FILES = {
    "a/element-provides": "operating-system\n",
    "a/environment.d/10-a.bash": "export DIB_DEV_USER=${DIB_DEV_USER:-me}\n",
    "a/install.d/50-a": '#!/bin/bash\necho $OWN_SETTING ${DIB_FLAVOUR_OF_A:-}\nname="DIB_PART_${part}"\n',
    "a/package-installs.yaml": "vim:\n  when: DIB_WITH_VIM = 1\n",
    "a/README.md": "DIB_ONLY_TOLD does nothing.\n",
}


@pytest.fixture
def elements(tmp_path: Path) -> list[Element]:
    for path, text in FILES.items():
        file = tmp_path / "el" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return [*find_elements([tmp_path / "el"]).values()]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("DIB_RELEASEE", "; did you mean 'DIB_RELEASE'?"),
        ("DIB_DEV_USR", "; did you mean 'DIB_DEV_USER'?"),
        ("OWN_SETTIN", "; did you mean 'OWN_SETTING'?"),
        ("dib_release", ""),
        ("DIB_ONLY_TOLD", ""),
        ("X", ""),
    ],
)
def test_what_nothing_reads_is_said(elements: list[Element], name: str, hint: str) -> None:
    (sentence,) = remarks({name: "1", "DIB_DEV_USER": "me", "DIB_RELEASE": "trixie"}, elements)
    assert sentence.startswith(f"{name} is set, but nothing in this image reads it")
    assert sentence.endswith(hint)


@pytest.mark.parametrize(
    "name",
    [
        *("DIB_RELEASE", "DIB_IMAGE_SIZE", "http_proxy", "SOURCE_DATE_EPOCH", "DIB_CTR_DEBIAN_MIRROR"),
        *(
            "DIB_DEV_USER",
            "DIB_FLAVOUR_OF_A",
            "OWN_SETTING",
            "DIB_WITH_VIM",
            "DIB_PART_one",
            "DIB_REPOREF_it",
            "PIP_INDEX_URL",
        ),
    ],
)
def test_what_the_build_or_an_element_reads_is_not(elements: list[Element], name: str) -> None:
    assert remarks({name: "1"}, elements) == ()


def test_it_is_among_what_a_build_says(elements: list[Element], tmp_path: Path) -> None:
    options = BuildOptions(
        ("a",), elements_path=str(tmp_path / "el"), settings=("DIB_RELEASEE=x",), destination=tmp_path / "out"
    )
    environment: Mapping[str, str] = {"DIB_DEV_USR": "me", "HOME": str(tmp_path)}
    notes = prepare("plan", options, environment).notes
    assert [note.split(" ")[0] for note in notes if "reads it" in note] == ["DIB_DEV_USR", "DIB_RELEASEE"]


def test_every_variable_that_the_code_names_is_known() -> None:
    """Elements' own are in their files; ``DIB_CTR_`` ones are this program's."""
    root = Path(__file__).parents[4]
    files = [file for package in ("builder", "stages", "blockdev", "qemu") for file in (root / package).rglob("*.py")]
    named = {name for file in files for name in re.findall(r'"(DIB_[A-Z_]+[A-Z])"', file.read_text(encoding="utf-8"))}
    assert {"DIB_RELEASE", "DIB_BLOCK_SIZE"} <= named
    of_elements = set(
        repository_use.CONDITIONAL.values()
    )  # read by their scripts: in an image without them, by nothing
    assert {name for name in named - KNOWN - of_elements if not name.startswith(PREFIXES)} == set()
    assert set(SETTINGS.values()) <= set(PREFIXES)
