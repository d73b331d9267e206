"""Commands for the store: cache du, ls, prune, verify."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from builder.commands.options import converse, engine_options
from stages.errors import BuildError, UsageError


@click.group()
def cache() -> None:
    """Look at the store of layers and packages, and clean it."""


def _ask_cache(options: dict[str, Any], **arguments: str) -> Any:
    from builder.build import cache as ask

    return ask(converse(None, options, quiet=True), arguments)


@cache.command()
@engine_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def du(*, as_json: bool, **options: Any) -> None:
    """How much is kept, by kind."""
    from builder.progress import size, table

    data = _ask_cache(options, action="du")
    if as_json:
        click.echo(json.dumps(data, indent=1))
        return
    rows = [[kind, size(count)] for kind, count in data["usage"].items()]
    click.echo(
        table(
            [
                *rows,
                ["all", size(sum(data["usage"].values()))],
                ["stages", str(data["stages"])],
                ["free", size(data["free"])],
            ]
        )
    )


@cache.command()
@engine_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ls(*, as_json: bool, **options: Any) -> None:
    """Which stages are kept."""
    from builder.progress import size, table

    data = _ask_cache(options, action="ls")
    if as_json:
        click.echo(json.dumps(data, indent=1))
        return
    rows = [["key", "stage", "size", "ran for", "made"]]
    for record in data:
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(record["created"]))
        rows.append([record["key"][:12], record["title"], size(record["bytes"]), f"{record['seconds']:.1f} s", made])
    click.echo(table(rows))


@cache.command()
@engine_options
@click.option("--older-than", type=float, metavar="DAYS", help="Let go of what was not used for so long.")
@click.option("--max-size", metavar="SIZE", help="Let go of the oldest until the rest fits: 500M, 20G.")
@click.option("--all", "everything", is_flag=True, help="Let go of everything, downloaded packages too.")
def prune(*, older_than: float | None, max_size: str | None, everything: bool, **options: Any) -> None:
    """Remove what is old or left over; without options only what no build can use any more."""
    from builder.progress import size

    arguments = {"action": "prune", "all": "1" if everything else ""}
    if older_than is not None:
        arguments["older_than"] = str(older_than * 86400)
    if max_size is not None:
        arguments["max_bytes"] = str(bytes_of(max_size))
    data = _ask_cache(options, **arguments)
    removed = f"{data['records']} stages, {data['layers']} layers and {data['outputs']} outputs"
    click.echo(f"removed {removed}: {size(data['freed'])} freed")


def bytes_of(text: str) -> int:
    units = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
    number, unit = text.rstrip("KMGTkmgt"), text.lstrip("0123456789.").upper()
    try:
        return int(float(number) * units[unit])
    except (ValueError, KeyError) as error:
        raise UsageError(f"{text!r} is not a size", hint="--max-size 500M, --max-size 20G") from error


@cache.command()
@engine_options
def verify(**options: Any) -> None:
    """Check that every layer is still what was kept."""
    data = _ask_cache(options, action="verify")
    for sentence in data["wrong"]:
        click.echo(sentence)
    if data["left over"]:
        click.echo(f"{data['left over']} layers are left over: `dib-ctr cache prune` removes them")
    if data["wrong"]:
        raise BuildError(f"{len(data['wrong'])} things are wrong with the store", hint="see above what mends each")
    click.echo("the store is sound")
