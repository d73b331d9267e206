"""What `dib-ctr elements` tells of elements."""

from __future__ import annotations

from pathlib import Path

import pytest

from blockdev.core.errors import UsageError
from builder.elements import catalogue


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "web" / "install.d").mkdir(parents=True)
    return tmp_path / "web"


def described(own: Path) -> dict[str, object]:
    return catalogue.describe("web", catalogue.universe(str(own.parent), {}))


@pytest.mark.parametrize(
    ("readme", "text"),
    [
        ("# web\n\nServes pages. And more.\n", "Serves pages."),
        ("===\nweb\n===\nServes\npages\n\nMore.\n", "Serves pages"),
        ("# Only a head\n", ""),
        ("", ""),
        ("# web\n\n" + "long " * 40 + "\n", ("long " * 40)[:97] + "..."),
    ],
)
def test_the_description_is_the_readmes_first_sentence(own: Path, readme: str, text: str) -> None:
    (own / "README.rst").write_text(readme)
    assert described(own)["description"] == text


def test_a_readme_in_another_encoding_is_no_error(own: Path) -> None:
    (own / "README").write_bytes(b"Caf\xe9 for all.\n")
    assert described(own)["description"] == "Caf\ufffd for all."


def test_every_built_in_element_is_described_by_its_own_page() -> None:
    universe = catalogue.universe("", {})
    assert {"base", "debian-minimal", "ubuntu-minimal", "vm", "openssh-server", "cloud-init", "devuser"} <= set(
        universe
    )
    for name, text in catalogue.rows(universe):
        assert text, name
        found = catalogue.describe(name, universe)
        assert found["origin"] == "built in"
        assert set(found["needs"]) <= set(universe), name
        assert f"description: {text}" in catalogue.page(found).splitlines()


def test_scripts_are_listed_by_phase_in_the_order_in_which_they_run(own: Path) -> None:
    for path in ("install.d/90-b", "install.d/10-a", "install.d/notes.txt", "cleanup.d/50-c"):
        (own / path).parent.mkdir(exist_ok=True)
        (own / path).write_text("#!/bin/sh\n")
        (own / path).chmod(0o755)
    found = described(own)
    assert found["scripts"] == {"install": ["10-a", "90-b"], "cleanup": ["50-c"]}
    assert found["files"] == ["install.d/notes.txt"]


def test_an_unknown_element_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="'debian-minmal'") as raised:
        catalogue.describe("debian-minmal", catalogue.universe("", {}))
    assert "'debian-minimal'" in raised.value.hint


def test_an_empty_list_says_so() -> None:
    assert catalogue.listing([]) == "no elements"


def test_what_is_wrong_with_an_elements_own_files_is_shown_and_hides_no_other(own: Path) -> None:
    assert "wrong" not in described(own)
    (own / "element-deps").write_text("# all\nother\n")
    found = described(own)
    assert found["wrong"] == f"'# all' is not an element's name ({own}/element-deps:1)"
    assert found["needs"] == ["other"]
    assert ("web", "") in catalogue.rows(catalogue.universe(str(own.parent), {}))
