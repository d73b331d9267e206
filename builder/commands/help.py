"""How the commands explain themselves: by groups, with examples, options by what they are about."""

from __future__ import annotations

from collections.abc import Iterable

import click

from builder.commands.table import COMMANDS, EXAMPLES, Group
from builder.request.option_table import SECTIONS

_COLUMNS = 79
_HYPHEN = "\N{NON-BREAKING HYPHEN}"  # while lines are made
_FEW = 12  # options that need no headings
_SECTION_OF = {option.name: title for title, rows in SECTIONS for option in rows}


def _write_examples(name: str, formatter: click.HelpFormatter) -> None:
    """The examples of a command, each with what it does: beside it where both fit, else above it."""
    examples = EXAMPLES.get(name, ())
    if not examples:
        return
    formatter.write_paragraph()
    widest = max(len(line) + 3 + len(about) for line, about in examples) + 2
    for line, about in examples:
        if widest <= formatter.width:
            longest = max(len(each) for each, _ in examples)
            formatter.write(f"  {line.ljust(longest)}  {about}\n")
        else:
            formatter.write(f"  # {about}\n  {line}\n")


class Formatter(click.HelpFormatter):
    """A text of help in which no word with a hyphen is broken in two: somebody may copy it."""

    def write_text(self, text: str) -> None:
        """See click."""
        super().write_text(text.replace("-", _HYPHEN))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """See click."""
        whole = [(first, second.replace("-", _HYPHEN)) for first, second in rows]
        super().write_dl(whole, col_max=col_max, col_spacing=col_spacing)

    def getvalue(self) -> str:
        """See click."""
        return super().getvalue().replace(_HYPHEN, "-")


class Context(click.Context):
    """A call of a command, whose help is formatted so."""

    formatter_class = Formatter


class Command(click.Command):
    """A command whose help has examples, and headings over many options."""

    context_class = Context

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See click."""
        super().format_help_text(ctx, formatter)
        _write_examples(ctx.command_path, formatter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See click."""
        by_section: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                by_section.setdefault(_SECTION_OF.get(parameter.name or "", ""), []).append(record)
        if sum(map(len, by_section.values())) <= _FEW:
            by_section = {"": [record for records in by_section.values() for record in records]}
        for title in ("", *(title for title, _ in SECTIONS)):
            if title in by_section:
                with formatter.section(title or "Options"):
                    formatter.write_dl(by_section[title])


class Subcommands(click.Group):
    """A command that has commands of its own."""

    context_class = Context
    command_class = Command

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See click."""
        super().format_help_text(ctx, formatter)
        _write_examples(ctx.command_path, formatter)


def _lines_of(names: Iterable[str]) -> list[list[str]]:
    """The names of each line of the overview."""
    lines: list[list[str]] = []
    for name in names:
        if COMMANDS[name].joined:
            lines[-1].append(name)
        else:
            lines.append([name])
    return lines


def write_overview(ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """What ``dib-ctr --help`` prints: at most 23 lines of at most 80 columns."""
    formatter.write_usage("dib-ctr", "COMMAND [ARGUMENT]...")
    formatter.write_text(ctx.command.help or "")
    _write_examples("dib-ctr", formatter)
    formatter.write_paragraph()
    for group in Group:
        names = [name for name, row in COMMANDS.items() if row.group is group]
        if group is Group.COMPATIBILITY:
            text = f"{group.value}: {', '.join(names)}".replace("-", _HYPHEN)
            formatter.write(click.wrap_text(text, _COLUMNS, "", " " * 8) + "\n")
        elif group is not Group.HIDDEN:
            for line in _lines_of(names):
                title = group.value if line[0] == names[0] else ""
                about = "; ".join(COMMANDS[name].about for name in line)
                formatter.write(f"{title:7}{', '.join(line):17}{about}\n")
    formatter.write("`dib-ctr COMMAND --help` says more of a command, --version which one this is.\n")


def usage_error(error: click.ClickException) -> str:
    """A command line that cannot be, told as every error is: what it is, and where one finds what can be."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    message = error.format_message().rstrip(".")
    where = f"\n  next:  {context.command_path} --help" if context else ""
    return f"{message[:1].lower()}{message[1:]}{where}"
