"""The pages: their links lead somewhere, links lead to each, and the command line knows what they tell to type."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from blockdev.configuration import read
from builder.request import outputs
from tests.docs import pages
from tests.docs.commands import unknown
from tests.docs.generated import MADE, with_next
from tests.docs.pages import DOCS, ELEMENTS, INDEX, ROOT

PAGES = pages.pages()
LINKED = (*PAGES, *sorted(ELEMENTS.glob("*/README.md")))


def names(found: list[Path]) -> list[str]:
    return [path.parent.name if path.name == "README.md" else path.name for path in found]


@pytest.mark.parametrize("page", LINKED, ids=names(list(LINKED)))
def test_links_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    assert list(pages.dead_links(page)) == []


@pytest.mark.parametrize("page", PAGES, ids=names(list(PAGES)))
def test_prose_lines_are_at_most_120_characters(page: Path) -> None:
    assert list(pages.long_lines(page)) == []


@pytest.mark.parametrize("page", LINKED, ids=names(list(LINKED)))
def test_the_command_line_knows_what_pages_tell_to_type(page: Path) -> None:
    assert [f"{page.name}:{line}: {what}" for line, text in pages.command_lines(page) for what in unknown(text)] == []


@pytest.mark.parametrize("page", PAGES, ids=names(list(PAGES)))
def test_files_tests_and_tasks_that_pages_name_are_there(page: Path) -> None:
    assert list(pages.missing_sources(page)) == []


def test_links_lead_from_the_index_to_every_page() -> None:
    reached = pages.reached()
    assert [str(page.relative_to(ROOT)) for page in LINKED if page not in reached] == []


def test_every_page_names_the_next_one() -> None:
    order = pages.ordered()
    for name, following in zip(order, [*order[1:], INDEX], strict=True):
        last = (DOCS / name).read_text(encoding="utf-8").rstrip().splitlines()[-1]
        assert re.fullmatch(rf"Next: \[.+\]\({re.escape(following)}\)", last), f"{name} does not name {following}"


def test_the_readme_has_at_most_120_lines() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= pages.README_LINES


@pytest.mark.parametrize("name", MADE)
def test_a_page_made_from_the_code_is_what_the_code_says_now(name: str) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")
    assert page == with_next(name, MADE[name]()), "run `just docs`"


# Between dib-ctr's own parts, and from it to the scripts of built-in elements: nobody sets them by hand.
INTERNAL = {
    *("DIB_CTR_BASE_DISTRIBUTION", "DIB_CTR_BASE_RELEASE", "DIB_CTR_BASE_INIT", "DIB_CTR_EVENTS", "DIB_CTR_SETTINGS"),
    *("DIB_CTR_BASE_DATE", "DIB_CTR_BASE_LACKS_BASH", "DIB_CTR_CRYPTTAB", "DIB_CTR_FSTAB", "DIB_CTR_ROOT"),
    "DIB_CTR_SETUP",
}


def test_every_variable_that_the_host_side_names_is_on_its_page() -> None:
    page = (DOCS / "environment.md").read_text(encoding="utf-8")
    sources = [file.read_text(encoding="utf-8") for file in (ROOT / "builder").rglob("*.py")]
    named = {name for text in sources for name in re.findall(r"\"(DIB_CTR_[A-Z_]+)\"", text)}
    assert named > INTERNAL
    assert sorted(name for name in named - INTERNAL if f"`{name}`" not in page) == []


def images_file_keys() -> set[str]:
    schema = json.loads((DOCS / "images.schema.json").read_text(encoding="utf-8"))
    image = schema["properties"]["images"]["additionalProperties"]["properties"]
    return {*image, *image["disk"]["properties"]}


TOLD: dict[str, tuple[str, set[str]]] = {
    "output types": ("outputs.md disks.md", set(outputs.OPTIONS)),
    "options of outputs": ("outputs.md disks.md", {word for words in outputs.OPTIONS.values() for word in words}),
    "keys of a disk": ("block-device.md", {word for words in read.KEYS.values() for word in words}),
    "keys of an images file": ("many-images.md", images_file_keys()),
}


@pytest.mark.parametrize("what", TOLD)
def test_a_table_tells_of_everything_that_there_is(what: str) -> None:
    files, there = TOLD[what]
    text = "\n".join((DOCS / file).read_text(encoding="utf-8") for file in files.split())
    rows = [line for line in text.splitlines() if line.startswith("|")]
    told = set(re.findall(r"[\w.-]+", " ".join(rows)))
    assert sorted(there - told) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# There\n\n## A `heading` of it\n", encoding="utf-8")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](there.md) [b](there.md#a-heading-of-it)\n[c](gone.md)\n`[d](x.md)`\n\n[e](there.md#no) [f](http://x.y/z.md)\n",
        encoding="utf-8",
    )
    assert list(pages.dead_links(page)) == ["page.md:2: gone.md", "page.md:5: there.md#no"]


def test_a_file_a_test_or_a_task_that_is_gone_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- shown by: test_pages.py, test_no_pages.py -->\n`builder/cli.py` `stages/gone.py`\n", encoding="utf-8"
    )
    assert list(pages.missing_sources(page)) == ["stages/gone.py", "test_no_pages.py"]


def test_a_long_line_is_found_unless_it_is_a_table_or_code(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    long = "x" * 121
    page.write_text(f"{long}\n| {long} |\n\n    {long}\n\n```\n{long}\n```\n- {long}\n", encoding="utf-8")
    assert list(pages.long_lines(page)) == ["page.md:1", "page.md:9"]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("dib-ctr build -o oci debian-minimal", []),
        ("dib-ctr build --outptu oci debian-minimal", ["--outptu"]),
        ("dib-ctr biuld debian-minimal", ["biuld"]),
        ("dib-ctr disk plan --json debian-minimal", []),
        ("dib-ctr cache prnue", ["cache prnue"]),
        ("dib-ctr shell debian-minimal --at x -- ls --all", []),
        ("dib-ctr disk-image-create -o x --no-such-option vm", ["--no-such-option"]),
    ],
)
def test_an_unknown_command_or_option_is_found(typed: str, found: list[str], tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"```console\n$ {typed}    # --a comment\n```\n", encoding="utf-8")
    assert [what for _, text in pages.command_lines(page) for what in unknown(text)] == found
