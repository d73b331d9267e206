"""The command that teaches a shell to complete dib-ctr's commands, options, elements, outputs and releases."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

import click

from blockdev.core.errors import BuildError, UsageError
from builder.commands.help import Command
from builder.host_state.environment import of_caller

_VARIABLE = "_DIB_CTR_COMPLETE"  # what the shell's function sets when it asks
_FILES = {
    "bash": ("XDG_DATA_HOME", ".local/share", "bash-completion/completions/dib-ctr"),
    "zsh": ("XDG_DATA_HOME", ".local/share", "zsh/site-functions/_dib-ctr"),
    "fish": ("XDG_CONFIG_HOME", ".config", "fish/completions/dib-ctr.fish"),
}


def file_of(shell: str, environment: Mapping[str, str]) -> Path:
    """Where the shell's completion of one user's commands is; UsageError where there is no home."""
    variable, below_home, name = _FILES[shell]
    folder = environment.get(variable, "")
    if folder and Path(folder).is_absolute():
        return Path(folder) / name
    home = environment.get("HOME", "")
    if not home:
        raise UsageError("HOME is not set, so there is no folder for it", hint=f"dib-ctr completion {shell} --print")
    return Path(home) / below_home / name


def text_of(shell: str, command: click.Command) -> str:
    """The program in the shell's language; the shell reads it when one first types dib-ctr and presses tab."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None, "click has all three"
    complete = kind(command, {}, "dib-ctr", _VARIABLE)
    return complete.source_template % complete.source_vars()


def _next(shell: str, file: Path) -> str:
    """What is left to do by hand."""
    if shell == "zsh":
        return f"in ~/.zshrc, before compinit: fpath+=({shlex.quote(str(file.parent))}); then a new shell"
    if shell == "bash":
        return "a new shell (it takes the package bash-completion)"
    return "a new shell"


@click.command(cls=Command)
@click.argument("shell", required=False, type=click.Choice(tuple(_FILES)))
@click.option("--print", "only_print", is_flag=True, help="Print it, and write no file.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def completion(shell: str | None, *, only_print: bool, debug: bool) -> None:
    """Have the shell complete commands, options, elements, output types, architectures and releases.

    Writes a file where SHELL (bash, zsh or fish; that of the variable SHELL) looks for the completions of this user.
    """
    del debug  # read by the command line's own error handling
    environment = of_caller()
    shell = shell or Path(environment.get("SHELL", "")).name
    if shell not in _FILES:
        hint = f"name one: {', '.join(_FILES)}"
        raise UsageError(f"there is no completion for {shell or 'a shell that SHELL does not name'}", hint=hint)
    text = text_of(shell, click.get_current_context().find_root().command)
    if only_print:
        click.echo(text, nl=False)
        return
    file = file_of(shell, environment)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f".{file.name}.{os.getpid()}")
        partial.write_text(text, encoding="utf-8")
        partial.rename(file)
    except OSError as error:
        hint = f"dib-ctr completion {shell} --print"
        raise BuildError(f"it cannot be written: {error.strerror}", where=str(file), hint=hint) from error
    click.echo(f"{file}\n  next:  {_next(shell, file)}")
