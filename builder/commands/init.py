"""The command that writes a first project."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePath

import click

from blockdev.core.errors import BuildError, UsageError
from builder.commands.help import Command

TEMPLATE = Path(__file__).parents[1] / "project" / "template"
IGNORED = PurePath(".gitignore")  # a checkout has one already, mostly
_NEXT = """  next:  {enter}dib-ctr build -f images.yaml container   # an image for containers
         dib-ctr build -f images.yaml machine     # a disk that boots"""


def files() -> Iterator[PurePath]:
    """The files of the project, relative to its folder."""
    for file in sorted(TEMPLATE.rglob("*")):
        if file.is_file():
            yield file.relative_to(TEMPLATE)


def _write(name: PurePath, folder: Path) -> None:
    """Write one file whole; raises OSError, FileExistsError among them."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        shutil.copyfile(TEMPLATE / name, partial)
        partial.chmod((0o777 if os.access(TEMPLATE / name, os.X_OK) else 0o666) & ~_umask())
        os.link(partial, path)  # and never over what came there meanwhile
    finally:
        partial.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


@click.command(cls=Command)
@click.argument("folder", required=False, default=".", type=click.Path(path_type=Path, file_okay=False))
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def init(folder: Path, *, debug: bool) -> None:
    """Write a first project into FOLDER (default: here): an element, a file of two images, a workflow, a .gitignore.

    It builds as it is. Nothing that is there is replaced; a .gitignore that is there is left as it is.
    """
    del debug  # read by the command line's own error handling
    there = [name for name in files() if os.path.lexists(folder / name)]
    taken = [str(name) for name in there if name != IGNORED]
    if taken:
        raise UsageError(
            f"{', '.join(taken)}: there already, and left alone", where=str(folder), hint="name another folder"
        )
    try:
        for name in files():
            if name not in there:
                _write(name, folder)
            click.echo(f"{folder / name}{' (there already: add /out/ to it)' if name in there else ''}")
    except OSError as error:
        what = f"the project cannot be written: {error.strerror}"
        raise BuildError(what, where=str(error.filename or folder), hint="name a folder of yours") from error
    click.echo(_NEXT.format(enter="" if folder == Path() else f"cd {shlex.quote(str(folder))}; "))
