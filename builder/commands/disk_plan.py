"""``dib-ctr disk plan``: where everything of a disk will lie, before anything is built."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import click

from blockdev.core.errors import UsageError
from builder.commands.help import Command
from builder.commands.options import disk_options, elements_argument
from builder.host_state.environment import of_caller
from builder.request.option_values import options_of
from builder.request.options import BuildOptions

TREE = 1 << 30  # bytes of files that a plan assumes where nobody says how many


@click.command(cls=Command)
@elements_argument(metavar="[ELEMENT...]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--tree-size",
    default="",
    metavar="SIZE",
    help="How much the files of the tree take, such as 700MiB [default: 1GiB].",
)
@click.option("--arch", default="", help="The image's architecture [default: this machine's].")
@click.option("--elements-path", default="", metavar="DIR:DIR", help="Where to look for elements first.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Set a variable.")
@disk_options
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def plan(*, as_json: bool, tree_size: str, **values: Any) -> None:
    """Show the disk that a build of these elements would make: partitions, volumes, file systems, fstab.

    Without elements: that of a configuration (--block-device FILE, or DIB_BLOCK_DEVICE_CONFIG).
    """
    from blockdev.configuration.sizes import EXPECTED, parse_bytes
    from blockdev.layout.fstab import crypttab, fstab
    from blockdev.layout.json import to_data
    from builder.disk_view.layout import draw

    try:
        tree = parse_bytes(tree_size) if tree_size else TREE
    except ValueError as error:
        raise UsageError(f"--tree-size is {tree_size!r}", hint=EXPECTED) from error
    options = options_of(values)
    layout = _layout(options, tree)
    if as_json:
        data = {**to_data(layout), "fstab": fstab(layout), "crypttab": crypttab(layout)}
        click.echo(json.dumps(data, indent=1))
        return
    click.echo(draw(layout, shutil.get_terminal_size((100, 24)).columns))
    click.echo("\n/etc/fstab\n" + "".join(f"  {line}\n" for line in fstab(layout).splitlines()), nl=False)
    if not (tree_size or options.disk.image_size):
        click.echo("\nfor a tree of 1 GiB (--tree-size)")


def _layout(options: BuildOptions, tree: int) -> Any:
    from blockdev.configuration import source
    from blockdev.configuration.read import read
    from blockdev.layout.plan import plan as lay_out
    from builder.request.choices import parse_arch
    from builder.request.disk import check_kinds
    from builder.request.disk_options import options_of as layout_options
    from builder.request.elements import resolve_elements
    from builder.request.outputs import parse_output
    from builder.request.variables import variables

    environment = of_caller()
    arch = parse_arch(options.arch)
    settings = variables(options.settings, "", environment, {})
    if options.disk.configuration:
        settings[source.VARIABLE] = f"file://{Path(options.disk.configuration).absolute()}"
    elements = []
    if options.elements:
        asked = BuildOptions(options.elements, arch=arch, elements_path=options.elements_path)
        resolution, _, _ = resolve_elements(asked, environment, [parse_output("raw")])
        elements = [(element.name, element.path) for element in resolution.elements]
    elif source.VARIABLE not in settings:
        raise UsageError("nothing says what the disk is to be", hint="name elements, or: --block-device FILE")
    text = source.find(elements, settings, arch)
    configuration = read(text.text, text.file)
    names = [name for name, _ in elements]
    layout = lay_out(configuration, layout_options(options.disk, settings, environment, "plan", names), tree)
    check_kinds(configuration, layout)
    return layout
