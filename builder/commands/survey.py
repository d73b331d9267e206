"""Commands that look at what there is: elements, doctor."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import click

from builder.commands.options import ENGINES
from stages.errors import UsageError


@click.command()
@click.option(
    "--elements-path", default="", metavar="DIR:DIR", help="Where to look for elements first [env: ELEMENTS_PATH]."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("name", required=False)
def elements(*, elements_path: str, as_json: bool, name: str | None) -> None:
    """List the elements, or describe one."""
    from builder import catalogue

    universe = catalogue.universe(elements_path)
    if name is None:
        rows = catalogue.rows(universe)
        click.echo(
            json.dumps([dict(zip(("name", "description"), row, strict=True)) for row in rows], indent=1)
            if as_json
            else catalogue.listing(rows)
        )
    else:
        found = catalogue.describe(name, universe)
        click.echo(json.dumps(found, indent=1) if as_json else catalogue.page(found))


@click.command()
@click.argument("names", nargs=-1, metavar="[ENGINE]...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(*, names: Sequence[str], as_json: bool) -> None:
    """Try each engine for real, and say what is wrong and what mends it."""
    from dataclasses import asdict

    from builder import doctor as examination

    for name in names:
        if name not in ENGINES[1:]:
            raise UsageError(f"there is no engine {name!r}", hint=f"there is: {', '.join(ENGINES[1:])}")
    report = examination.run(list(names) or list(ENGINES[1:]))
    click.echo(json.dumps(asdict(report), indent=1) if as_json else examination.render(report))
    sys.exit(0 if report.usable else 1)
