"""Commands for the store: cache du, ls, prune, verify."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import click

from blockdev.core.errors import BuildError, UsageError
from builder.commands.help import Subcommands
from builder.commands.options import engine_options, open_session
from builder.request.option_values import options_of
from builder.request.store_size import bytes_of


@click.group(cls=Subcommands)
def cache() -> None:
    """Look at the store of layers and packages, and clean it."""


def _ask_cache(options: dict[str, Any], **arguments: str) -> Any:
    from builder.build.run import cache as ask

    return ask(open_session(None, options_of(options), quiet=True), arguments)


@cache.command()
@engine_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def du(*, as_json: bool, **options: Any) -> None:
    """How much is kept, by kind."""
    from builder.progress.report import size, table

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
    from builder.progress.report import size, table

    data = _ask_cache(options, action="ls")
    if as_json:
        click.echo(json.dumps(data, indent=1))
        return
    rows = [["key", "stage", "size", "ran for", "made"]]
    for record in data:
        created = time.strftime("%Y-%m-%d %H:%M", time.localtime(record["created"]))
        rows.append([record["key"][:12], record["title"], size(record["bytes"]), f"{record['seconds']:.1f} s", created])
    click.echo(table(rows))


@cache.command()
@engine_options
@click.option("--older-than", metavar="DAYS", help="Let go of what was not used for so long: 14, 14d, 12h.")
@click.option("--max-size", "--keep-size", metavar="SIZE", help="Let go of the oldest until the rest fits: 500M, 20GB.")
@click.option("--all", "everything", is_flag=True, help="Let go of everything, downloaded packages too.")
@click.option(
    "--registry", metavar="REF", help="Clean a cache elsewhere instead: HOST/NAME:TAG, or as --cache-to has it."
)
@click.option(
    "--insecure", is_flag=True, help="With --registry: without TLS, or with a certificate nobody vouches for."
)
def prune(
    *,
    older_than: str | None,
    max_size: str | None,
    everything: bool,
    registry: str | None,
    insecure: bool,
    **options: Any,
) -> None:
    """Remove what is old or left over; without options only what no build can use any more."""
    from builder.build.run import cache as ask
    from builder.build_image import ensure, usage
    from builder.progress.report import size

    if registry:
        if everything:
            raise UsageError("--all is for the store", hint="--older-than 0 empties a registry's cache")
        _prune_elsewhere(registry, older_than, max_size, insecure=insecure)
        return
    if insecure:
        raise UsageError("--insecure is of use with --registry only", hint="--registry HOST/NAME:TAG")

    _sweep_destinations()
    arguments = {"action": "prune", "all": "1" if everything else ""}
    if older_than is not None:
        arguments["older_than"] = str(seconds_of(older_than))
    if max_size is not None:
        arguments["max_bytes"] = str(bytes_of(max_size))
    session = open_session(None, options_of(options), quiet=True)
    data = ask(session, arguments)
    removed = f"{data['records']} stages, {data['layers']} layers and {data['outputs']} outputs"
    click.echo(f"removed {removed}: {size(data['freed'])} freed")
    age = 0.0 if everything else seconds_of(older_than) if older_than is not None else usage.UNUSED
    for image in usage.prune(session.container.engine, ensure.references(), age):
        click.echo(f"removed the build image {image}")


def _sweep_destinations() -> None:
    """Remove what killed builds left where outputs were put."""
    from builder import destination

    for folder in destination.memory().folders():
        destination.sweep(folder)


def _prune_elsewhere(text: str, older_than: str | None, keep_size: str | None, *, insecure: bool) -> None:
    from builder.progress.report import size
    from builder.remote_cache.prune import prune as clean
    from builder.remote_cache.spec import parse

    spec = replace(parse(text, writing=True), insecure=True) if insecure else parse(text, writing=True)
    age = seconds_of(older_than) if older_than is not None else None
    done = clean(spec, older_than=age, keep_size=bytes_of(keep_size) if keep_size is not None else None)
    left = f"{done.left} are left ({size(done.left_bytes)})"
    click.echo(f"removed {done.entries} layers ({size(done.bytes)}) from {spec.name}: {left}")
    if not done.deleted:
        click.echo("the registry deletes no manifests: they are not listed any more, and it must remove them by itself")
    elif done.entries and spec.kind == "registry":
        click.echo("the room comes back when the registry collects its garbage")


def seconds_of(text: str) -> float:
    units = {"": 86400.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "w": 7 * 86400.0}
    number, unit = text.rstrip("dhmw"), text.lstrip("0123456789.")
    try:
        return float(number) * units[unit]
    except (ValueError, KeyError) as error:
        raise UsageError(f"{text!r} is no age", hint="--older-than 14, --older-than 14d, --older-than 12h") from error


@cache.command()
@engine_options
def verify(**options: Any) -> None:
    """Check that all that is kept is still what was kept; what is not is let go of."""
    data = _ask_cache(options, action="verify")
    for sentence in data["wrong"]:
        click.echo(sentence)
    if data["left over"]:
        click.echo(f"{data['left over']} layers are left over: `dib-ctr cache prune` removes them")
    if data["wrong"]:
        raise BuildError(f"{len(data['wrong'])} things are wrong with the store", hint="see above what mends each")
    click.echo("the store is sound")
