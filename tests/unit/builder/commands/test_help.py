"""The commands explain themselves on a small terminal, and name nothing that there is not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.commands.table import COMMANDS, EXAMPLES, Group
from builder.request.option_table import OPTIONS, SECTIONS
from tests.docs.commands import commands, has_own_parser, own_help, unknown

CHECKOUT = Path(__file__).parents[4]
NAMES = dict(commands())

# Options of other programs, which a hint names with the program.
OF_OTHERS = {"--build-arg", "--list", "--no-install-recommends", "--raw", "--bare"}


def help_of(name: str, width: int = 80) -> str:
    context = NAMES[name]
    context.terminal_width = width - 2  # as click has it on such a terminal
    return context.command.get_help(context)


def test_the_overview_fits_a_small_terminal() -> None:
    lines = help_of("dib-ctr").splitlines()
    assert len(lines) <= 23  # a prompt is below it
    assert max(map(len, lines)) <= 79


def test_the_overview_has_every_command_in_its_group() -> None:
    text = help_of("dib-ctr")
    shown = [name for name, row in COMMANDS.items() if row.group is not Group.HIDDEN]
    assert [name for name in shown if not re.search(rf"(?<![\w-]){name}(?![\w-])", text)] == []
    assert [group.value for group in Group if group.value not in text] == []


def test_commands_are_those_that_there_are() -> None:
    top = {name.split()[1] for name in NAMES if name.count(" ") == 1}
    assert top == {name for name, row in COMMANDS.items() if row.group is not Group.HIDDEN}
    assert set(EXAMPLES) <= set(NAMES)


def test_every_command_that_is_typed_has_an_example() -> None:
    typed = {name for name, each in NAMES.items() if not hasattr(each.command, "commands")} - {"dib-ctr"}
    own = {name for name in typed if has_own_parser(NAMES[name].command)}
    assert {name for name in typed - own if not EXAMPLES.get(name)} == set()


@pytest.mark.parametrize("line", [line for lines in EXAMPLES.values() for line, _ in lines])
def test_an_example_is_a_command_line_that_there_is(line: str) -> None:
    assert unknown(line) == []


@pytest.mark.parametrize("name", [name for name, each in NAMES.items() if not has_own_parser(each.command)])
def test_no_word_is_broken_in_two(name: str) -> None:
    for line in help_of(name).splitlines():
        assert not re.search(r"[a-z]-$", line), line


def test_options_stand_below_what_they_are_about() -> None:
    text = help_of("dib-ctr build")
    titles = [title for title, _ in SECTIONS]
    assert [title for title in titles if f"\n{title}:\n" in text] == titles
    assert sorted(option.name for _, rows in SECTIONS for option in rows) == sorted(option.name for option in OPTIONS)


def hints() -> Iterator[tuple[str, str]]:
    """Every text of a hint in the code, with its place."""
    for floor in ("builder", "stages", "blockdev", "qemu"):
        for file in sorted((CHECKOUT / floor).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.keyword) and node.arg == "hint":
                    parts = [part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant)]
                    text = "".join(part for part in parts if isinstance(part, str))
                    yield f"{file.relative_to(CHECKOUT)}:{node.value.lineno}", text


def test_no_hint_names_an_option_that_there_is_not() -> None:
    known = set()
    for context in NAMES.values():
        if has_own_parser(context.command):
            known |= set(re.findall(r"(?<![\w-])--[\w-]+", own_help(context.command)))
        known |= {word for each in context.command.get_params(context) for word in each.opts}
    known |= OF_OTHERS
    wrong = {
        f"{place}: {word}"
        for place, text in hints()
        for word in re.findall(r"(?<![\w-])--[a-z][\w-]+", text)
        if word not in known
    }
    assert wrong == set()


def test_no_hint_names_a_command_that_there_is_not() -> None:
    wrong = {
        f"{place}: {line}"
        for place, text in hints()
        for line in re.findall(r"`(dib-ctr [^`]*)`", text)
        if unknown(line)
    }
    assert wrong == set()
