"""diskimage-builder's commands under their own names, for those who wish: small programs that call dib-ctr."""

from __future__ import annotations

import secrets
import shlex
import sys
from pathlib import Path

import click

from blockdev.core.errors import BuildError, UsageError
from builder.commands.help import Command

NAMES = ("disk-image-create", "ramdisk-image-create", "diskimage-builder")
_MARK = "# Written by `dib-ctr launchers`."


def text(name: str) -> str:
    """The program of one command: it runs the very dib-ctr that wrote it."""
    return f'#!/bin/sh\n{_MARK}\nexec {shlex.quote(sys.executable)} -P -m builder.cli {name} "$@"\n'


@click.command(cls=Command)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def launchers(folder: Path, *, debug: bool) -> None:
    """Write disk-image-create, ramdisk-image-create and diskimage-builder into FOLDER, which PATH may have first.

    They run this dib-ctr. Commands of these names that something else has put there are left alone.
    """
    del debug  # read by the command line's own error handling
    for name in NAMES:
        if _is_foreign(folder / name):
            raise UsageError(
                "this is not a launcher of dib-ctr", where=str(folder / name), hint="name another folder, or remove it"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in NAMES:
            partial = folder / f".{name}.{secrets.token_hex(4)}"
            partial.write_text(text(name), encoding="utf-8")
            partial.chmod(0o755)
            partial.rename(folder / name)
            click.echo(str((folder / name).absolute()))
    except OSError as error:
        raise BuildError(
            f"the launchers cannot be written: {error.strerror}", where=str(folder), hint="name another folder"
        ) from error


def _is_foreign(file: Path) -> bool:
    try:
        return _MARK not in file.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return file.is_symlink()
    except OSError:
        return True
