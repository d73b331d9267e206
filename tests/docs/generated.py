"""The pages of docs/ that say what the code says: the command line's options, and the built-in elements."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click

from builder.commands.table import EXAMPLES
from builder.elements.catalogue import rows
from stages.element.resolve import BUILTIN, find_elements
from tests.differential.compare import ACCEPTED, QUICK, TO_BE_MENDED, WHOLE, listed
from tests.docs.commands import commands, has_own_parser, own_help
from tests.docs.manual import manual
from tests.docs.pages import DOCS, ELEMENTS, ROOT, ordered, title
from tests.facts.files import families, write_table
from tests.facts.page import table as facts_table
from tests.matrix import __main__ as matrix
from tests.matrix.results import placed
from tests.upstream import VERSION

MANUAL: Final = "dib-ctr.1"
_WARNING: Final = "<!-- Made by `just docs`: edit the code's own help texts instead. -->"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _section(name: str, context: click.Context) -> Iterator[str]:
    command = context.command
    yield from ("", f"## {name}", "")
    if has_own_parser(command):
        yield from ("```text", *own_help(command).rstrip().splitlines(), "```")
        return
    yield f"`{name} {' '.join(command.collect_usage_pieces(context))}`"
    yield from _prose(command.help or "")
    if isinstance(command, click.Group):
        words = (word for word in command.list_commands(context) if _is_shown(command, context, word))
        yield from _prose("Commands: " + ", ".join(f"`{word}`" for word in words) + ".")
    if examples := EXAMPLES.get(name):
        yield from ("", "```bash", *(f"{line}  # {about}" for line, about in examples), "```")
    options = [each for each in command.get_params(context) if isinstance(each, click.Option)]
    records = [record for each in options if (record := each.get_help_record(context)) is not None]
    yield from ("", "| option | |", "| --- | --- |")
    yield from (f"| `{_cell(option)}` | {_cell(meaning)} |" for option, meaning in records)


def _prose(text: str) -> Iterator[str]:
    """A help text's paragraphs, each after an empty line; those marked ``\\b`` stay as they are."""
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        yield ""
        if paragraph.startswith("\b\n"):
            yield from ("```text", *paragraph.splitlines()[1:], "```")
        else:
            yield from textwrap.wrap(" ".join(paragraph.split()), 118, break_long_words=False, break_on_hyphens=False)


def _is_shown(group: click.Group, context: click.Context, word: str) -> bool:
    command = group.get_command(context, word)
    return command is not None and not command.hidden


def commands_page() -> str:
    """Every command with its options, as ``--help`` has them."""
    head = [
        "# Commands and options",
        "",
        _WARNING,
        "",
        "What `dib-ctr COMMAND --help` prints, for every command. Exit statuses have [a page](exit-statuses.md), and",
        "so have [environment variables](environment.md).",
    ]
    body = [line for name, context in commands() for line in _section(name, context)]
    return "\n".join([*head, *body]) + "\n"


def elements_page() -> str:
    """The built-in elements with what each is for; variables and defaults stand in the READMEs."""
    found = find_elements((BUILTIN,))
    lines = [
        "# The built-in elements",
        "",
        _WARNING,
        "",
        "Each element's README has its variables with their defaults and meaning; `dib-ctr elements NAME` shows it,",
        "and says which element of that name is used. [Elements](elements.md) says how to write one.",
        "",
        "| element | | needs |",
        "| --- | --- | --- |",
    ]
    for name, text in rows(found):
        page = (found[name].path / "README.md").relative_to(ELEMENTS.parents[1]).as_posix()
        file = found[name].path / "element-deps"
        needs = sorted(file.read_text(encoding="utf-8").split()) if file.is_file() else []
        lines.append(f"| [{name}](../{page}) | {_cell(text)} | {' '.join(needs)} |")
    return "\n".join(lines) + "\n"


_ROOMS: Final = ("<!-- rooms: made by `just docs` of the packages' first lines -->", "<!-- end of the rooms -->")


def rooms() -> Iterator[tuple[str, str]]:
    """Every package of the floors, and the first paragraph of its docstring."""
    for floor in ("builder", "stages", "blockdev"):
        for file in sorted((ROOT / floor).glob("*/__init__.py")):
            text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
            yield f"{floor}/{file.parent.name}", " ".join(text.partition("\n\n")[0].split()).replace("``", "`")


def code_page() -> str:
    """The page on the code as it is, with its table of rooms made anew."""
    text = (DOCS / "code.md").read_text(encoding="utf-8").rpartition("\n\nNext: ")[0]
    begin, end = _ROOMS
    before, rest = text.split(begin)
    table = ["| room | |", "| --- | --- |", *(f"| `{room}` | {_cell(what)} |" for room, what in rooms())]
    return "\n".join([f"{before}{begin}", "", *table, "", f"{end}{rest.split(end)[1]}"])


def differences_page() -> str:
    """The list of what is answered otherwise than diskimage-builder answers."""
    lines = [
        "# Where it differs from diskimage-builder",
        "",
        "<!-- Made by `just docs` of tests/differential/differences.yaml. -->",
        "",
        *textwrap.wrap(
            f"`test_differential.py` gives the planning code of diskimage-builder {VERSION} and of dib-ctr the same"
            " input: graphs of elements, package-installs, pkg-map and svc-map files, block-device configurations,"
            " lists of images, `environment.d` snippets, names of scripts, and command lines. Both say which elements,"
            " packages, partitions, file systems, lines of fstab, variables and files there will be. What differs for"
            f" no reason of this page fails. {QUICK} examples are tried at every push, the same ones each time, and"
            f" {WHOLE} others every night.",
            118,
        ),
    ]
    for state, heading in ((ACCEPTED, "What stays so"), (TO_BE_MENDED, "What is to be mended")):
        found = [each for each in listed() if each.state == state]
        if found:
            lines += [
                "",
                f"## {heading}",
                "",
                "| of | diskimage-builder | dib-ctr | because |",
                "| --- | --- | --- | --- |",
            ]
            lines += [f"| {each.area} | {each.there} | {each.here} | {each.why} |" for each in found]
    return "\n".join(lines) + "\n"


_RELEASES: Final = ("<!-- releases: made by `just docs` of stages/distributions -->", "<!-- end of the releases -->")


def distributions_page() -> str:
    """The page on distributions as it is, with its table of releases made of the facts."""
    text = (DOCS / "distributions.md").read_text(encoding="utf-8").rpartition("\n\nNext: ")[0]
    return placed(text, facts_table(families()), _RELEASES)


def matrix_page() -> str:
    """The page of the matrix as it is, with its tables made of the kept results."""
    return matrix.page((DOCS / "matrix.md").read_text(encoding="utf-8").rpartition("\n\nNext: ")[0])


MADE: Final[dict[str, Callable[[], str]]] = {
    "commands.md": commands_page,
    "builtin-elements.md": elements_page,
    "code.md": code_page,
    "differences.md": differences_page,
    "distributions.md": distributions_page,
    "matrix.md": matrix_page,
}


def with_next(name: str, text: str) -> str:
    """The page's text with the line that names the next page, as docs/index.md orders them."""
    pages = [*ordered(), "index.md"]
    following = pages[pages.index(name) + 1]
    heading = "all pages" if following == "index.md" else title(DOCS / following)
    return f"{text.rstrip()}\n\nNext: [{heading}]({following})\n"


def write(folder: Path = DOCS) -> None:
    """Write the pages, and the table of facts that builds read."""
    write_table()
    for name, make in MADE.items():
        (folder / name).write_text(with_next(name, make()), encoding="utf-8")
    (folder / MANUAL).write_text(manual(), encoding="utf-8")
