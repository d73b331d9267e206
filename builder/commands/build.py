"""Commands that build: build, plan, shell."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from blockdev.core.errors import UsageError
from builder.commands import images_file
from builder.commands.help import Command
from builder.commands.image import pushing_of
from builder.commands.options import note, open_session, options_of_command
from builder.host_state.environment import of_caller
from builder.request.option_table.outputs import DISK_OPTIONS
from builder.request.option_values import options_of, value_of, with_elements
from builder.request.options import BuildOptions, DiskOptions
from stages.protocol.request import DISK_TYPES

if TYPE_CHECKING:
    from builder.build.run import BuildSession
    from builder.request.prepared_build import PreparedBuild


class CommandAfterDashes(Command):
    """A command line that may end in ``-- COMMAND...``, which goes to ``context.meta["command"]``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take away what follows the first ``--``."""
        if "--" in args:
            index = args.index("--")
            ctx.meta["command"], args = args[index + 1 :], args[:index]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """The usage line names it too."""
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]


def _check_load(engine: str, *, load: bool) -> None:
    if load and engine == "host":
        raise UsageError("--load needs an engine that has images", hint="--engine podman or docker")


@click.command(cls=Command)
@options_of_command("build")
def build(**values: Any) -> None:
    """Build an image, or with -f those of a file (ELEMENT... are then the names of those that are wanted).

    Outputs take options: -o oci,layers=stages,tag=1.0  -o tar,compress=zstd  -o oci-archive,dest=/srv/image.tar
    """
    options = options_of(values)
    from_file = images_file.asked(options)
    _check_reports(options)
    if not from_file:
        _check_disk_options(options, options.outputs or ("oci",))
    if options.dry_run:
        _show_plan(options)
        return
    if from_file:
        images_file.build_images(options)
        return
    with images_file.reported(options):
        build_one(with_elements(options, of_caller()))


def build_one(options: BuildOptions) -> None:
    """One build, to its last word."""
    from builder.build.run import build as run
    from builder.progress import host_events
    from builder.progress.event_channel import tell
    from builder.request.prepare import prepare

    options = replace(options, outputs=options.outputs or ("oci",))
    say = _speaker(options.shown.progress)
    pushing = pushing_of(options.push, options.outputs)
    if pushing:
        pushing.check()
    if "," in options.arch:
        places = _build_several(options, say)
    else:
        prepared = prepare("build", options, of_caller())
        _check_boot_test(options, prepared)
        _check_load(options.engine.engine, load=options.load)
        session = open_session(prepared, options)
        _check_load(session.container.engine.name, load=options.load)  # "auto" may have become the host
        run(prepared, session, load=options.load, folder=options.destination, say=say)
        places = list(prepared.targets)
        if options.boot_test:
            from builder.build import boot_test

            for success in boot_test.run(prepared, options.firmware, lambda text: note(text, end="")):
                say(success)
    quiet = options.shown.progress == "quiet"
    for path in places:
        tell(host_events.Placed(place=str(path)))
        if quiet:
            click.echo(str(path))
    if pushing:
        pushed = pushing.run(next(path for path in places if (path / "oci-layout").is_file()))
        if quiet:
            click.echo(pushed.pinned)
        say(str(pushed))
        tell(host_events.Pushed(reference=pushed.pinned))


def _speaker(progress: str) -> Callable[[str], None]:
    """Where the sentences on a build that succeeded go."""
    if progress == "quiet":
        return _say_nothing
    return note if progress == "json" else click.echo


def _say_nothing(_sentence: str) -> None:
    """For a quiet build."""


def _check_reports(options: BuildOptions) -> None:
    """UsageError for a report that could not be written when all is done."""
    from builder.destination import check_folder_of

    for file in filter(None, (*options.shown.report, options.shown.junit)):
        check_folder_of(file, "name a file in a folder of yours")


def _check_disk_options(options: BuildOptions, outputs: Sequence[str]) -> None:
    """UsageError for an option of a disk where no output is one. (--privileged only allows something.)"""
    if any(output.partition(",")[0] in DISK_TYPES for output in outputs):
        return
    plain = DiskOptions(privileged=options.disk.privileged)
    for option in DISK_OPTIONS:
        if options.disk != plain and value_of(option, options) != value_of(option, BuildOptions(disk=plain)):
            raise UsageError(
                f"{option.long} is about a disk, and no output is one", hint="add -o qcow2 (or raw), or leave it out"
            )


def _check_boot_test(options: BuildOptions, prepared: PreparedBuild) -> None:
    if options.boot_test:
        from builder.build import boot_test

        boot_test.image_of(prepared)
    elif options.firmware:
        raise UsageError("--firmware is for --boot-test", hint="add --boot-test, or leave it out")


def _build_several(options: BuildOptions, say: Callable[[str], None]) -> list[Path]:
    from builder.build.multi_arch import build as run

    if options.boot_test:
        raise UsageError("--boot-test takes an image of one architecture", hint="name one with --arch")
    if options.load:
        raise UsageError("--load takes an image of one architecture", hint="name one with --arch")

    def open_for(prepared: PreparedBuild) -> BuildSession:
        return open_session(prepared, replace(options, arch=prepared.request.arch))

    return run(options, options.arches, of_caller(), open_for, say=say, on_note=note)


@click.command(cls=Command)
@options_of_command("plan")
def plan(**values: Any) -> None:
    """Show the stages of a build: which are in the cache, and why the others are not; with -f also which are shared."""
    options = options_of(values)
    if not images_file.asked(options) and options.outputs:
        _check_disk_options(options, options.outputs)
    _show_plan(options)


def _show_plan(options: BuildOptions) -> None:
    if options.files:
        images_file.plan_images(options)
        return
    from builder.build.run import plan as ask
    from builder.progress.report import plan_json, plan_table
    from builder.request.prepare import prepare

    prepared = prepare("plan", with_elements(options, of_caller()), of_caller())
    stages = ask(prepared, open_session(prepared, options, quiet=True))
    click.echo(plan_json(stages) if options.shown.as_json else plan_table(stages))


@click.command(cls=CommandAfterDashes)
@options_of_command("shell")
@click.pass_context
def shell(context: click.Context, /, **values: Any) -> NoReturn:
    """Open a shell in the tree of a build, or run a command there; what is changed there is thrown away."""
    from builder.build.run import shell as enter
    from builder.request.prepare import prepare

    options = with_elements(options_of(values), of_caller())
    prepared = prepare("shell", options, of_caller())
    command = context.meta.get("command", ())
    sys.exit(enter(prepared, open_session(prepared, options, quiet=True), options.at, command))
