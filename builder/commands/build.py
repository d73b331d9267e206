"""Commands that build: build, plan, shell."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from blockdev.core.errors import UsageError
from builder.commands import images_file
from builder.commands.image import pushing_of
from builder.commands.options import (
    cache_from_option,
    cache_options,
    disk_options,
    log_options,
    note,
    open_session,
    output_options,
    push_options,
    request_options,
    slim,
    wish_of,
)

if TYPE_CHECKING:
    from builder.build.run import BuildSession
    from builder.request.options import BuildOptions
    from builder.request.prepared_build import PreparedBuild


class CommandAfterDashes(click.Command):
    """A command line that may end in ``-- COMMAND...``, which goes to ``context.meta["command"]``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take away what follows the first ``--``."""
        if "--" in args:
            place = args.index("--")
            ctx.meta["command"], args = args[place + 1 :], args[:place]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """The usage line names it too."""
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]


def _check_load(engine: str, *, load: bool) -> None:
    if load and engine == "host":
        raise UsageError("--load needs an engine that has images", hint="--engine podman or docker")


@click.command()
@request_options
@log_options
@output_options
@disk_options
@cache_options
@click.option(
    "--lock",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write what was used: repositories, packages with checksums, build image.",
)
@click.option(
    "--vendor",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write the lock to DIR/lock.json, and beside it all packages and lists that --locked needs.",
)
@push_options
@click.option("--push", "reference", default="", metavar="HOST/NAME:TAG", help="Push the image to this registry.")
@click.option("--load", is_flag=True, help="Put the image into the engine's own images as well.")
@click.option(
    "--firmware",
    type=click.Choice(("bios", "uefi", "both")),
    help="What --boot-test starts it with [default: what the disk is made for].",
)
@click.option("--boot-test", is_flag=True, help="Start a machine from the disk image and wait for its login prompt.")
@click.option(
    "--break",
    "breaks",
    multiple=True,
    metavar="POINT",
    help="Open a shell at before:STAGE, after:STAGE, before-PHASE, after-PHASE or error.",
)
@click.option("--break-command", default="", metavar="COMMAND", help="Run this there in place of a shell.")
@click.option("--break-outside", is_flag=True, help="At an error be outside the tree, which TMP_MOUNT_PATH leads to.")
@images_file.build_options
@images_file.file_options
def build(**options: Any) -> None:
    """Build an image, or with -f those of a file (ELEMENT... are then the names of those that are wanted).

    Outputs take options: -o oci,layers=stages,tag=1.0  -o tar,compress=zstd  -o oci-archive,dest=/srv/image.tar
    """
    if images_file.asked(options):
        images_file.build_images(options)
        return
    with images_file.reported(options):
        _build_one(options)


def _build_one(options: dict[str, Any]) -> None:
    """The build of a command line, to its last word."""
    from builder.build.run import build as run
    from builder.progress.event_channel import tell
    from builder.request.prepare import prepare

    wish = wish_of(
        options,
        outputs=options["outputs"] or ("oci",),
        destination=options["destination"],
        breaks=options["breaks"],
        break_command=options["break_command"],
        break_outside=options["break_outside"],
        slim=slim(options),
        no_documents=options["no_documents"],
        replace=options["replace"],
    )
    say = note if options["progress"] == "json" else click.echo
    pushing = pushing_of(options, wish.outputs)
    if pushing:
        pushing.check()
    if "," in options["arch"]:
        places = _build_several(wish, options, say)
    else:
        prepared = prepare("build", wish)
        _check_boot_test(options, prepared)
        _check_load(options["engine"], load=options["load"])
        session = open_session(prepared, options)
        _check_load(session.container.engine.name, load=options["load"])  # "auto" may have become the host
        run(prepared, session, load=options["load"], folder=options["destination"], say=say)
        places = list(prepared.targets)
        if options["boot_test"]:
            from builder.build import boot_test

            for success in boot_test.run(prepared, options["firmware"], lambda text: note(text, end="")):
                say(success)
    for place in places:
        tell(type="placed", place=str(place))
    if pushing:
        pushed = pushing.run(next(place for place in places if (place / "oci-layout").is_file()))
        say(str(pushed))
        tell(type="pushed", reference=pushed.pinned)


def _check_boot_test(options: dict[str, Any], prepared: PreparedBuild) -> None:
    if options["boot_test"]:
        from builder.build import boot_test

        boot_test.image_of(prepared)
    elif options["firmware"]:
        raise UsageError("--firmware is for --boot-test", hint="add --boot-test, or leave it out")


def _build_several(wish: BuildOptions, options: dict[str, Any], say: Callable[[str], None]) -> list[Path]:
    from builder.build.multi_arch import build as run

    if options["boot_test"]:
        raise UsageError("--boot-test takes an image of one architecture", hint="name one with --arch")
    if options["load"]:
        raise UsageError("--load takes an image of one architecture", hint="name one with --arch")

    def answer(prepared: PreparedBuild) -> BuildSession:
        return open_session(prepared, {**options, "arch": prepared.request.arch})

    return run(wish, options["arch"].split(","), answer, say=say)


@click.command()
@request_options
@output_options
@disk_options
@cache_from_option
@images_file.plan_options
@images_file.file_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plan(*, as_json: bool, **options: Any) -> None:
    """Show the stages of a build: which are in the cache, and why the others are not; with -f also which are shared."""
    if images_file.asked(options):
        images_file.plan_images(options, as_json=as_json)
        return
    from builder.build.run import plan as ask
    from builder.progress.report import plan_table
    from builder.request.prepare import prepare

    prepared = prepare(
        "plan",
        wish_of(
            options,
            outputs=options["outputs"],
            destination=options["destination"],
            slim=slim(options),
            replace=options["replace"],
        ),
    )
    stages = ask(prepared, open_session(prepared, options, quiet=True))
    click.echo(json.dumps(stages, indent=1) if as_json else plan_table(stages))


@click.command(cls=CommandAfterDashes)
@request_options
@cache_from_option
@click.option(
    "--at",
    default="",
    metavar="STAGE",
    help="The tree as this stage finds it, by number, script or title [default: finished].",
)
@click.pass_context
def shell(context: click.Context, /, *, at: str, **options: Any) -> NoReturn:
    """Open a shell in the tree of a build, or run a command there; what is changed there is thrown away."""
    from builder.build.run import shell as enter
    from builder.request.prepare import prepare

    prepared = prepare("shell", wish_of(options))
    command = context.meta.get("command", ())
    sys.exit(enter(prepared, open_session(prepared, options, quiet=True), at, command))
