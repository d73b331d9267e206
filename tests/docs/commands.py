"""The commands of the command line, and whether a line that a page tells to type is one of them."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Final

import click
from click.testing import CliRunner

from builder.cli import cli

NAME: Final = "dib-ctr"
_PLACEHOLDER: Final = re.compile(r"\.{3}|…|[A-Z][A-Z_-]*\Z|\[")


def commands() -> Iterator[tuple[str, click.Context]]:
    """Every command that is shown, by its whole name (``dib-ctr disk plan``), with its context."""
    yield from _below(NAME, cli.context_class(cli, info_name=NAME, **cli.context_settings))


def _below(name: str, context: click.Context) -> Iterator[tuple[str, click.Context]]:
    # click keeps the option --help as whoever asked first had it: a test that calls a command alone has it without -h.
    vars(context.command)["_help_option"] = None
    yield name, context
    group = context.command
    if not isinstance(group, click.Group):
        return
    for word in group.list_commands(context):
        command = group.get_command(context, word)
        if command is not None and not command.hidden:
            yield from _below(f"{name} {word}", command.context_class(command, info_name=word, parent=context))


def has_own_parser(command: click.Command) -> bool:
    """Does it hand all its words to a parser of its own (diskimage-builder's command lines)."""
    return bool(command.params) and not any(isinstance(each, click.Option) for each in command.params)


def own_help(command: click.Command) -> str:
    """What a command with a parser of its own prints for ``--help``."""
    return CliRunner().invoke(command, ["--help"], catch_exceptions=False).output


@functools.cache
def _options() -> Mapping[str, frozenset[str]]:
    found = {}
    for name, context in commands():
        if has_own_parser(context.command):
            words = set(re.findall(r"(?<![\w-])--?[\w-]+", own_help(context.command)))
        else:
            params = context.command.get_params(context)
            words = {word for each in params for word in (*each.opts, *each.secondary_opts) if word.startswith("-")}
        found[name] = frozenset(words)
    return found


def unknown(typed: str) -> list[str]:
    """The command or the options of a line ``dib-ctr ...`` that the command line does not know."""
    try:
        words = shlex.split(typed, comments=True)
    except ValueError:  # a quotation that goes on in the next line
        words = typed.split()
    known = _options()
    name, rest = NAME, words[1:]
    while rest and f"{name} {rest[0]}" in known:
        name, rest = f"{name} {rest[0]}", rest[1:]
    is_group = any(other.startswith(f"{name} ") for other in known)
    if is_group and rest and not rest[0].startswith("-"):
        return [] if _PLACEHOLDER.match(rest[0]) else [" ".join([*name.split()[1:], rest[0]])]
    options = [word.partition("=")[0] for word in (rest[: rest.index("--")] if "--" in rest else rest)]
    return [word for word in options if re.match(r"--?[A-Za-z]", word) and not _is_known(word, known[name])]


def _is_known(word: str, known: frozenset[str]) -> bool:
    return word in known or (not word.startswith("--") and word[:2] in known)
