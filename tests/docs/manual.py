"""The manual page of the command line, in the language of ``man``, made of the commands' own help."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Final

import click

from builder.commands.table import EXAMPLES
from tests.docs.commands import NAME, commands, has_own_parser, own_help

_STATUSES: Final = (
    ("0", "done"),
    ("1", "what was tried did not work"),
    ("2", "bad usage: nothing was begun"),
    ("129, 130, 143", "ended by SIGHUP, Ctrl-C, SIGTERM: nothing half-made was left"),
)


def _text(words: str) -> str:
    """One line of text; a hyphen in it can be copied, and no beginning of it is an order to the formatter."""
    text = words.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        if paragraph.startswith("\b\n"):
            yield from (".PP", ".nf", *map(_text, paragraph.splitlines()[1:]), ".fi")
        else:
            yield from (".PP", _text(" ".join(paragraph.split())))


def _command(name: str, context: click.Context) -> Iterator[str]:
    command = context.command
    yield f".SS {_text(name)}"
    if has_own_parser(command):
        yield from (".nf", *map(_text, own_help(command).rstrip().splitlines()), ".fi")
        return
    yield from (".B", _text(f"{name} {' '.join(command.collect_usage_pieces(context))}"))
    yield from _paragraphs(command.help or "")
    for line, about in EXAMPLES.get(name, ()):
        yield from (".TP", ".B", _text(line), _text(about))
    options = [each for each in command.get_params(context) if isinstance(each, click.Option)]
    records = [record for each in options if (record := each.get_help_record(context)) is not None]
    for option, meaning in records:
        yield from (".TP", ".B", _text(option), _text(" ".join(meaning.split())) or "\\&")


def manual() -> str:
    """The page ``dib-ctr(1)``."""
    lines = [
        ".\\\" Made by `just docs`: edit the code's own help texts instead.",
        ".TH DIB\\-CTR 1",
        ".SH NAME",
        "dib\\-ctr \\- build operating system images from elements",
        ".SH SYNOPSIS",
        ".B",
        _text(f"{NAME} COMMAND [ARGUMENT]..."),
        ".SH DESCRIPTION",
        "Builds operating system images from elements, without root on the host: every script is a cached layer, and",
        "the finished tree goes out as an image for containers, as a disk, or as an archive.",
        ".SH COMMANDS",
        *(line for name, context in commands() if name != NAME for line in _command(name, context)),
        ".SH EXIT STATUS",
        *(line for status, meaning in _STATUSES for line in (".TP", ".B", _text(status), _text(meaning))),
    ]
    return "\n".join(lines) + "\n"
