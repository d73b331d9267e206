"""Commands about builds that were: history, report."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from blockdev.core.errors import UsageError
from builder.commands.help import Command
from builder.host_state.environment import of_caller

if TYPE_CHECKING:
    from pathlib import Path

    from builder.history.record import Build


@click.command(cls=Command)
@click.option("--top", type=click.IntRange(0), default=20, show_default=True, help="How many builds; 0: all.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with everything that is kept.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.argument("name", default="")
def history(*, name: str, top: int, as_json: bool, debug: bool) -> None:
    """Show what was built here, the newest first: when, from what, how long it took, which digest, what changed.

    With NAME: the builds of that name. The newest 200 builds of this user are kept; failed ones are not.
    """
    from builder.history import record

    kept = list(record.builds())
    if name and not any(build.name == name for _, build in kept):
        from blockdev.core.suggest import nearest

        names = sorted({build.name for _, build in kept})
        raise UsageError(
            f"no build named {name} is remembered",
            hint=nearest(name, names) or "`dib-ctr history` lists all that are",
        )
    asked = [(file, build) for file, build in kept if name in ("", build.name)]
    shown = asked[:top] if top else asked
    if as_json:
        click.echo(json.dumps([vars(build) for _, build in shown], indent=1, default=vars))
    elif not shown:
        click.echo("nothing was built yet: dib-ctr build debian-minimal")
    else:
        click.echo(_table(shown, kept))


def _table(shown: Sequence[tuple[Path, Build]], kept: Iterable[tuple[Path, Build]]) -> str:
    """Two lines a build: the first has what one looks for, the second what it was made of and what changed."""
    from builder.history.record import compare
    from builder.inspection.printable import printable
    from builder.progress.report import size, table

    builds = list(kept)
    rows, lines = [], []
    for file, build in shown:
        older = (
            other
            for path, other in builds
            if path.name < file.name and (other.name, other.arch) == (build.name, build.arch)
        )
        previous = next(older, None)
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(build.started))
        rows.append((when, build.name, build.arch, _seconds(build.seconds), size(build.bytes), _short(build.digest)))
        of = " ".join(build.asked) or build.base
        changed = str(compare(previous, build)) if previous else "the first one"
        lines.append(f"  {printable(of)}: {printable(changed)}")
    head = ("when", "name", "arch", "took", "size", "digest")
    first, *rest = table([head, *rows]).splitlines()
    return "\n".join([first, *(line for pair in zip(rest, lines, strict=True) for line in pair)])


def _seconds(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]


@click.command(cls=Command)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def report(*, debug: bool) -> None:
    """Open the last report that `dib-ctr build --report FILE.html` wrote, and print where it is."""
    from builder.history import record

    file = record.last_report()
    if file is None:
        raise UsageError("no report was written yet, or it is gone", hint="dib-ctr build --report report.html ...")
    click.echo(os.fspath(file))
    environment = of_caller()
    if environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"):
        import webbrowser

        webbrowser.open(file.as_uri())
