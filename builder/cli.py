"""The command line: it gathers the commands, and tells errors to people."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from builder.commands import boot, building, compat, disk, diskplan, github, images, launchers, machines, store, survey
from builder.commands.options import note
from stages.errors import BuildError

INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="dib-ctr", prog_name="dib-ctr", message="%(prog)s %(version)s")
def cli() -> None:
    """Build operating system images from elements: no root, every script a cached layer."""


for command in (
    *(building.build, building.plan, building.shell),
    *(images.verify_image, images.image_size, images.push_image),
    *(compat.disk_image_create, compat.ramdisk_image_create, compat.diskimage_builder, launchers.launchers),
    *(machines.matrix, machines.k8s, github.github_action),
    *(boot.boot, disk.disk, survey.elements, store.cache, survey.doctor),
):
    cli.add_command(command)
disk.disk.add_command(diskplan.plan)


def _terminated(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status (0 done, 1 failed, 2 bad usage, 130 interrupted)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for number in (signal.SIGTERM, signal.SIGHUP):  # end as tidily as after Ctrl-C
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup stays in force
            signal.signal(number, _terminated)
    try:
        return _run(arguments, debug="--debug" in arguments)
    except BrokenPipeError:  # who read the output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(arguments: list[str], *, debug: bool) -> int:
    try:
        cli.main(args=arguments, prog_name="dib-ctr", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return 2
    except (KeyboardInterrupt, click.Abort):
        note("interrupted: nothing half-made was left")
        return INTERRUPTED
    except BuildError as error:
        if debug:
            import traceback

            traceback.print_exc()
        note(f"error: {error}")
        return error.exit_status
    except BrokenPipeError:
        raise
    except Exception as error:
        from builder.build import FailedError

        if isinstance(error, FailedError):
            return error.status
        if debug:
            raise
        note(f"error: dib-ctr itself stumbled over {type(error).__name__}: {error}\n  next:  run again with --debug")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
