"""Commands for finished images: push, verify, size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from blockdev.core.errors import UsageError
from builder.commands.help import Command
from builder.commands.options import engine_options, note, open_session, push_options
from builder.host_state.environment import of_caller
from builder.request.option_values import options_of

if TYPE_CHECKING:
    from builder.registry.push import Pushing
    from builder.request.options import PushOptions


def pushing_of(options: PushOptions, outputs: Sequence[str]) -> Pushing | None:
    """What is to be pushed and signed after the build; UsageError for what cannot be."""
    if not options.reference:
        for name in ("sign", "insecure", "authfile", "sign_key"):
            if getattr(options, name):
                raise UsageError(f"--{name.replace('_', '-')} is of use with --push only", hint="--push HOST/NAME:TAG")
        return None
    from builder.registry.push import Pushing, parse_reference

    if not any(output.partition(",")[0] == "oci" for output in outputs):
        raise UsageError("--push takes the output oci, which is not among those asked for", hint="add -o oci")
    reference = parse_reference(options.reference)
    return Pushing(reference, options.insecure, options.authfile, options.sign, options.sign_key, note)


@click.command("push", cls=Command)
@push_options
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.argument("image", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("reference", metavar="HOST/NAME:TAG")
def push_image(*, image: Path, **values: Any) -> None:
    """Push IMAGE, a layout (NAME.oci), with the documents attached to it."""
    if not (image / "oci-layout").is_file():
        raise UsageError(f"{image} is no image layout", hint="build one with -o oci")
    pushing = pushing_of(options_of(values).push, ("oci",))
    assert pushing is not None
    pushing.check()
    click.echo(str(pushing.run(image)))


@click.command("verify", cls=Command)
@engine_options
@click.option("--offline", is_flag=True, help="Cut the network; take repositories as they were seen last.")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="A variable that the provenance does not tell."
)
@click.option(
    "--elements-path", default="", metavar="DIR:DIR", help="Where to look for elements first [env: ELEMENTS_PATH]."
)
@click.option("--arch", default="", help="Which architecture of an image that has several.")
@click.argument("image", type=click.Path(exists=True, path_type=Path))
def verify_image(*, image: Path, arch: str, **values: Any) -> None:
    """Build IMAGE again from scratch, by what its provenance says, and name the first file that differs."""
    from builder.build.verify import report

    options = options_of(values)
    click.echo(report(image, arch, options, of_caller(), lambda prepared: open_session(prepared, options, quiet=True)))


@click.command("size", cls=Command)
@click.option("--by", type=click.Choice(("package", "directory", "layer", "all")), multiple=True, help="What to list.")
@click.option("--depth", type=click.IntRange(0), default=2, show_default=True, help="How many levels of directories.")
@click.option("--top", type=click.IntRange(0), default=20, show_default=True, help="How many lines of each; 0: all.")
@click.option("--arch", default="", help="Which architecture of an image that has several.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with everything in it.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.argument("image", type=click.Path(path_type=Path))
@click.argument("other", type=click.Path(path_type=Path), required=False, metavar="[IMAGE2]")
def image_size(*, image: Path, other: Path | None, depth: int, arch: str, **options: Any) -> None:
    """Show how large IMAGE is by package and by directory; or how IMAGE2 differs from it."""
    from builder.inspection import render
    from builder.inspection.image import open_image
    from builder.inspection.size import measure

    sizes = [measure(opened, depth) for opened in [open_image(path, arch) for path in (image, other) if path]]
    click.echo(render.answer(sizes, options["by"], options["top"], as_json=options["as_json"]))
