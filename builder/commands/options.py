"""The option table's rows as options of the commands, and what they come to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder.host_state.environment import of_caller
from builder.request.option_table import BY_NAME, of_command
from builder.request.option_table.delivery import PUSH_OPTIONS
from builder.request.option_table.image import ENGINE_OPTIONS
from builder.request.option_table.option import Kind, Option
from builder.request.option_table.outputs import DISK_OPTIONS
from builder.request.option_values import build_command, shell_command

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from builder.build.run import BuildSession
    from builder.remote_cache.session import CacheSession
    from builder.request.options import BuildOptions
    from builder.request.prepared_build import PreparedBuild

Command = Callable[..., Any]


def note(text: str, end: str = "\n") -> None:
    click.echo(text + end, nl=False, err=True)


# -- rows as click has them ----------------------------------------------------------------------------------------


def _with_settings(_context: click.Context, _option: click.Parameter, settings: tuple[str, ...]) -> tuple[str, ...]:
    from builder.fleet import variables

    environment = of_caller()
    return (*variables.taken(environment), *settings) if variables.VARIABLE in environment else settings


_CALLBACKS = {"settings": _with_settings}
_COMPLETED = ("outputs", "arch", "release")


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from builder.commands.complete import COMPLETERS

    return COMPLETERS[parameter.name or ""](context, parameter, incomplete)


def elements_argument(name: str = "elements", metavar: str = "ELEMENT...") -> Callable[[Command], Command]:
    """A decorator that gives a command the names of elements."""
    return click.argument(name, nargs=-1, metavar=metavar, shell_complete=_complete)


_TYPES: dict[Kind, Any] = {
    Kind.NUMBER: click.IntRange(min=1),
    Kind.PATH: click.Path(path_type=Path),
    Kind.FILE: click.Path(dir_okay=False, path_type=Path),
    Kind.FOLDER: click.Path(file_okay=False, path_type=Path),
    Kind.OWN_FILE: click.Path(exists=True, dir_okay=False, path_type=Path),
}


def _decorator(option: Option) -> Callable[[Command], Command]:
    more: dict[str, Any] = {"default": option.unsaid} if not option.multiple else {"multiple": True}
    if option.kind is Kind.FLAG:
        more = {"is_flag": True}
    return click.option(
        *option.flags,
        option.name,
        type=click.Choice(option.choices) if option.choices else _TYPES.get(option.kind),
        help=option.help,
        metavar=option.metavar,
        show_default=option.show_default or None,
        envvar=option.environment,
        callback=_CALLBACKS.get(option.name),
        shell_complete=_complete if option.name in _COMPLETED else None,
        **more,
    )


def table_options(rows: Iterable[Option]) -> Callable[[Command], Command]:
    """A decorator that gives a command the options of these rows, in their order."""

    def decorated(command: Command) -> Command:
        for option in reversed(tuple(rows)):
            command = _decorator(option)(command)
        return command

    return decorated


def options_of_command(command: str) -> Callable[[Command], Command]:
    """A decorator that gives a command all options that the table has for it, and the elements."""
    options = table_options(of_command(command))
    elements = elements_argument()
    return lambda function: options(elements(function))


engine_options = table_options(ENGINE_OPTIONS)
disk_options = table_options(DISK_OPTIONS)
push_options = table_options(PUSH_OPTIONS)
file_options = table_options([BY_NAME["files"]])


# -- what they come to ----------------------------------------------------------------------------------------------


def exchange_of(options: BuildOptions) -> CacheSession | None:
    """The caches that the options name; UsageError for what cannot be."""
    if not options.cache_from and not options.cache_to:
        return None
    from builder.remote_cache.open import open_caches
    from builder.remote_cache.session import CacheSession
    from builder.remote_cache.spec import parse_all

    reading, writing = parse_all(options.cache_from, writing=False), parse_all(options.cache_to, writing=True)
    if options.offline:
        for spec in (*reading, *writing):
            if spec.kind != "dir":
                note(f"--offline: the cache {spec.name} is not asked")
        reading = tuple(spec for spec in reading if spec.kind == "dir")
        writing = tuple(spec for spec in writing if spec.kind == "dir")
    return CacheSession(*open_caches(reading, writing, note), note)


def set_store(options: BuildOptions) -> None:
    """Have the engine of the host, here and in processes that are started, keep its store where the options say."""
    if options.engine.store:
        of_caller()["DIB_CTR_STORE"] = options.engine.store


def open_session(prepared: PreparedBuild | None, options: BuildOptions, *, quiet: bool = False) -> BuildSession:
    """A session with a build container of the chosen engine, and who shows what it says."""
    from builder import engines
    from builder.build.client import BuildContainer
    from builder.build.run import BuildSession
    from builder.build_image.ensure import purpose_of
    from builder.progress.event_channel import forward_events, tell
    from builder.progress.host_events import LogFile
    from builder.progress.report import Log, Plain, reporter
    from builder.request import limits
    from qemu.architecture import native, runs

    set_store(options)
    bounds = limits.settings(of_caller())
    engine = engines.select(options.engine.engine, options.engine.host)
    foreign = prepared is not None and not runs(native(), prepared.request.arch)
    purpose = purpose_of(prepared.build_image if prepared else "", foreign=foreign)
    container = BuildContainer(engine, purpose, note, options.engine.debug, limits=bounds)
    log = Log.open(options.shown.log, prepared.request.name if prepared else "cache")
    tell(LogFile(path=str(log.path)))
    shown = Plain(out=sys.stderr, github=False) if quiet else forward_events(reporter(options.shown.progress))
    beside = prepared.locks.locked.parent if prepared and prepared.locks.locked else Path()
    if prepared is None:
        return BuildSession(container, shown, log, shell_command(options), beside)
    return BuildSession(
        container,
        shown,
        log,
        shell_command(options, prepared.redaction),
        beside,
        {element.name: element.path for element in prepared.elements},
        prepared.large,
        exchange=exchange_of(options),
        redaction=prepared.redaction,
        environment=of_caller(),
        again=build_command(options, prepared.redaction),
    )
