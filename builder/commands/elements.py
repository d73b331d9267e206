"""Commands that look at what there is: elements, doctor."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from blockdev.core.errors import UsageError
from builder.commands.help import Command
from builder.commands.options import elements_argument
from builder.host_state.environment import of_caller
from builder.request.option_table.image import ENGINES

FORMATS = ("text", "json", "dib-lint", "element-info", "github")


@click.command(cls=Command)
@click.option(
    "--elements-path", default="", metavar="DIR:DIR", help="Where to look for elements first [env: ELEMENTS_PATH]."
)
@click.option("--check", is_flag=True, help="Look for what is wrong in the elements, without building anything.")
@click.option("--strict", is_flag=True, help="With --check: fail for warnings, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default=None,
    help="What --check prints [text]; dib-lint and element-info do and print what those commands do.",
)
@click.option("--env", "as_bash", is_flag=True, help="With --format element-info: print bash text for eval.")
@elements_argument("names", "[NAME]...")
def elements(
    *,
    elements_path: str,
    check: bool,
    strict: bool,
    as_json: bool,
    form: str | None,
    as_bash: bool,
    names: Sequence[str],
) -> None:
    """List the elements, describe some, or check them: exit status 1 if one has an error."""
    _refuse_options(check, strict, as_json, form, as_bash, names)
    if form == "element-info":
        _element_info(elements_path, names, as_bash)
    elif form == "dib-lint":
        _lint(elements_path, names)
    elif check:
        _check(elements_path, names, strict, "json" if as_json else form or "text")
    else:
        _describe(elements_path, names, as_json)


def _refuse_options(
    check: bool, strict: bool, as_json: bool, form: str | None, as_bash: bool, names: Sequence[str]
) -> None:
    if as_json and form not in (None, "json"):
        raise UsageError(f"--json and --format {form} are two formats", hint="leave one out")
    if as_bash and form != "element-info":
        raise UsageError("--env belongs to --format element-info", hint="add it, or leave --env out")
    if strict and not check:
        raise UsageError("--strict belongs to --check", hint="add it, or leave --strict out")
    if form in ("text", "json", "github") and not check:
        raise UsageError(f"--format {form} belongs to --check", hint="add it; --json works without it")
    if form == "element-info" and not names:
        raise UsageError("--format element-info takes the names of elements", hint="name those of one image")


def _describe(elements_path: str, names: Sequence[str], as_json: bool) -> None:
    from builder.elements import catalogue

    universe = catalogue.universe(elements_path, of_caller())
    if not names:
        rows = catalogue.rows(universe)
        click.echo(
            json.dumps([dict(zip(("name", "description"), row, strict=True)) for row in rows], indent=1)
            if as_json
            else catalogue.listing(rows)
        )
        return
    descriptions = [catalogue.describe(name, universe) for name in names]
    if as_json:
        click.echo(json.dumps(descriptions[0] if len(descriptions) == 1 else descriptions, indent=1))
    else:
        click.echo("\n\n".join(map(catalogue.page, descriptions)))


def _check(elements_path: str, names: Sequence[str], strict: bool, form: str) -> None:
    from builder.elements.check import report as formats
    from builder.elements.check import run
    from builder.request.elements import elements_path as folders
    from stages.element.resolve import BUILTIN

    paths = folders(elements_path, of_caller())
    report = run.check(paths, names, hidden=[BUILTIN] if len(paths) > 1 else [])
    render = {"text": formats.text, "json": formats.as_json, "github": formats.github}[form]
    if output := render(report):
        click.echo(output)
    sys.exit(0 if report.passed(strict) else 1)


def _lint(elements_path: str, names: Sequence[str]) -> None:
    from builder.elements import catalogue
    from builder.elements.check import dib_lint
    from builder.request.elements import elements_path as folders
    from stages.element.resolve import find_elements

    paths = folders(elements_path, of_caller())
    universe = find_elements(paths)
    for name in names:
        catalogue.element_called(name, universe)
    looked_at = dib_lint.element_folders(paths if names else paths[:-1] or paths, names)
    problems = dib_lint.lint(looked_at, dib_lint.ignored_everywhere(Path.cwd()))
    click.echo(dib_lint.render(problems))
    sys.exit(1 if problems else 0)


def _element_info(elements_path: str, names: Sequence[str], as_bash: bool) -> None:
    from builder.elements import catalogue
    from builder.elements.check import element_info
    from stages.element.resolve import resolve

    elements = resolve(names, catalogue.universe(elements_path, of_caller())).elements
    click.echo(element_info.bash(elements) if as_bash else element_info.names(elements))


def _engines(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in ENGINES[1:] if name.startswith(incomplete)]


@click.command(cls=Command)
@click.argument("names", nargs=-1, metavar="[ENGINE]...", shell_complete=_engines)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(*, names: Sequence[str], as_json: bool) -> None:
    """Try each engine for real, and say what is wrong and what mends it."""
    from dataclasses import asdict

    from builder.doctor import doctor as examination

    for name in names:
        if name not in ENGINES[1:]:
            raise UsageError(f"there is no engine {name!r}", hint=f"there is: {', '.join(ENGINES[1:])}")
    report = examination.run(list(names) or list(ENGINES[1:]))
    click.echo(json.dumps(asdict(report), indent=1) if as_json else examination.render(report))
    sys.exit(0 if report.usable else 1)
