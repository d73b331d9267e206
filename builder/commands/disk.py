"""The commands about disks: disk plan, disk inspect."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click

from builder.commands import disk_plan
from builder.commands.help import Subcommands


@click.group(cls=Subcommands)
def disk() -> None:
    """Look at disks: those that there will be, and those that there are."""


disk.add_command(disk_plan.plan)


@disk.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--sector-size", type=click.Choice(("512", "4096")), help="The disk's sectors in bytes [default: found out]."
)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.argument("image", type=click.Path(path_type=Path))
def inspect(*, as_json: bool, sector_size: str | None, debug: bool, image: Path) -> None:
    """Show what is on a disk image: partitions, file systems, volumes, boot loaders.

    Nothing is mounted, no root is needed, and the image is not written to.
    """
    from blockdev.inspect.json import to_data
    from blockdev.inspect.survey import inspect as read
    from builder.disk_view.inspection import draw

    inspection = read(image, int(sector_size) if sector_size else None, lambda text: click.echo(text, err=True))
    if as_json:
        click.echo(json.dumps(to_data(inspection), indent=1))
    else:
        click.echo(draw(inspection, shutil.get_terminal_size((100, 24)).columns))
