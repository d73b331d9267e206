"""What the shell offers while one types: elements, output types and their options, architectures, releases, engines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import click
from click.shell_completion import CompletionItem

from builder.host_state.environment import of_caller

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _beginning(incomplete: str, words: Iterable[tuple[str, str]]) -> list[CompletionItem]:
    return [CompletionItem(word, help=about or None) for word, about in words if word.startswith(incomplete)]


def elements(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of elements; folders where a path is begun; with ``-f`` the names of the file's images."""
    from blockdev.core.errors import UsageError
    from builder.elements.catalogue import rows, universe

    if "/" in incomplete or incomplete.startswith("."):
        return [CompletionItem(incomplete, type="dir")]
    try:
        if context.params.get("files"):
            return _beginning(incomplete, _images(context))
        pairs = rows(universe(context.params.get("elements_path") or "", of_caller()))
    except UsageError:  # of a file or folder that is not right yet
        return []
    typed = {*(context.params.get("elements") or ()), *(context.params.get("names") or ())}
    return _beginning(incomplete, (row for row in pairs if row[0] not in typed))


def _images(context: click.Context) -> list[tuple[str, str]]:
    from pathlib import Path

    from builder.frontends.images_file.load import load

    images = load(tuple(map(Path, context.params["files"])), Path(), context.params.get("elements_path") or "")
    return [(image.name, " ".join(image.elements)) for image in images]


def outputs(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Types of outputs; after a comma the options of the type."""
    from builder.destination import FILES
    from builder.request.outputs import OPTIONS

    kind, comma, _ = incomplete.partition(",")
    if not comma:
        return _beginning(incomplete, ((word, "") for word in (*OPTIONS, FILES)))
    before = incomplete.rpartition(",")[0]
    keys = {**OPTIONS.get(kind, {}), "dest": ()}
    words = [f"{key}={value}" for key, values in keys.items() for value in values or ("",)]
    return _beginning(incomplete, ((f"{before},{word}", "") for word in words))


def architectures(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of architectures, also after others and a comma."""
    from qemu.architecture import ARCHITECTURES

    before, comma, _ = incomplete.rpartition(",")
    return _beginning(incomplete, ((f"{before}{comma}{name}", "") for name in ARCHITECTURES))


def releases(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Releases of the distribution that an element on the line is of."""
    from builder.elements.catalogue import universe
    from builder.request.releases.check import distribution_of
    from builder.request.releases.support import described

    pairs = []
    elements_by_name = universe(context.params.get("elements_path") or "", of_caller())
    for name in (*(context.params.get("elements") or ()), *context.args):  # (these, while an option has no value yet)
        for line in described(distribution_of(elements_by_name[name])) if name in elements_by_name else ():
            name, _, about = line.partition(" ")
            pairs.append((name, about))
    return _beginning(incomplete, pairs)


COMPLETERS: Final[Mapping[str, Completer]] = {
    "elements": elements,
    "names": elements,
    "outputs": outputs,
    "arch": architectures,
    "release": releases,
}
