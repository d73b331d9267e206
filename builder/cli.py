"""The command line: it gathers the commands, and tells errors to people."""

from __future__ import annotations

import errno
import gc
import importlib
import io
import os
import select
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

import click

from blockdev.core.errors import BuildError
from builder.commands.help import Subcommands, usage_error, write_overview
from builder.commands.options import note
from builder.commands.table import COMMANDS, Group
from builder.host_state import environment

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class SignalError(KeyboardInterrupt):
    """A signal ends the program as tidily as Ctrl-C does."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Commands(Subcommands):
    """The commands of the table."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See click."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """See click."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].code.partition(":")
        command = getattr(importlib.import_module(f"builder.commands.{module}"), name)
        assert isinstance(command, click.Command)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click; ``help COMMAND`` is ``COMMAND --help``."""
        return super().parse_args(ctx, [*args[1:], "--help"] if args[:1] == ["help"] else args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """See click; an unknown word is told with the command that was meant."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from blockdev.core.suggest import nearest

            ctx.fail(f"No such command {args[0]!r}{f': {near}' if (near := nearest(args[0], COMMANDS)) else '.'}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """See click; the table says what there is, and no command's code is loaded for it."""
        from click.shell_completion import CompletionItem

        shown = {name: row.about for name, row in COMMANDS.items() if row.group is not Group.HIDDEN}
        return [CompletionItem(name, help=about) for name, about in shown.items() if name.startswith(incomplete)]

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One screen of a small terminal: what it is, two examples, the commands by what they are for."""
        write_overview(ctx, formatter)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="dib-ctr", prog_name="dib-ctr", message="%(prog)s %(version)s")
def cli() -> None:
    """Build operating system images from elements: no root, every script cached."""


def _terminated(number: int, _frame: object) -> NoReturn:
    raise SignalError(number)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0 done, 1 failed, 2 bad usage, 128 + the signal that ended it."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for number in (signal.SIGTERM, signal.SIGHUP):  # end as tidily as after Ctrl-C
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup stays in force
            signal.signal(number, _terminated)
    _open_standard_streams()
    environment.clean()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name may be no text: it is shown all the same
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            status = _run(arguments, debug="--debug" in arguments)
        except SystemExit as exiting:  # (click's own answer to a closed pipe is one)
            if _is_broken(1) or _is_broken(2):
                raise BrokenPipeError from exiting
            raise
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except BrokenPipeError:  # who read the output has gone
        for stream in (1, 2):
            if _is_broken(stream):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        return 128 + signal.SIGPIPE
    finally:
        if argv is None:  # this is the program's end: garbage need not be looked for once more on the way out
            gc.freeze()
    return status


def _open_standard_streams() -> None:
    """A stream that the caller has closed is nothing to write to, and no file of ours takes its number."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(handle, True)
    os.close(handle)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8")


def _is_broken(number: int) -> bool:
    """Is a descriptor a pipe that nobody reads from any more."""
    watched = select.poll()
    watched.register(number, 0)
    return any(state & (select.POLLERR | select.POLLHUP) for _, state in watched.poll(0))


def _run(arguments: list[str], *, debug: bool) -> int:
    try:
        # (a command that runs another one, as the GitHub Action's does, gets this one's way in)
        cli.main(args=arguments, prog_name="dib-ctr", standalone_mode=False, obj=main)
    except click.ClickException as error:
        note(f"error: {usage_error(error)}")
        return 2
    except (KeyboardInterrupt, click.Abort) as error:
        note("interrupted: nothing half-made was left")
        cause = error.__cause__ if isinstance(error, click.Abort) else error  # (click makes the one of the other)
        return 128 + (cause.number if isinstance(cause, SignalError) else signal.SIGINT)
    except BuildError as error:
        if debug:
            import traceback

            traceback.print_exc()
        note(f"error: {error}")
        return error.exit_status
    except Exception as error:
        from builder.build.run import FailedError

        if isinstance(error, FailedError):
            return error.status
        if isinstance(error, OSError) and error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            name = str(error.filename or "")
            note(f"error: {error.strerror}: {name[:80]}{'...' if len(name) > 80 else ''}\n  next:  give another name")
            return 2
        if isinstance(error, BrokenPipeError) and (_is_broken(1) or _is_broken(2)):
            raise
        if debug:
            raise
        note(f"error: dib-ctr itself stumbled over {type(error).__name__}: {error}\n  next:  run again with --debug")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
