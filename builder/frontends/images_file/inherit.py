"""What images take from the images that they extend, and what a matrix makes of one."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from blockdev.core.suggest import nearest
from builder.frontends.images_file.read import Entry, File, Matrix, Text
from builder.frontends.images_file.schema import IMAGE

_OWN = ("extends", "abstract")  # what nobody inherits
_TEMPLATE = re.compile(r"\$\{\{\s*(?:matrix\.)?([A-Za-z_][A-Za-z0-9_-]*)\s*\}\}")


def inherited(file: File) -> dict[str, Entry]:
    """Every image with what it extends and with the defaults, abstract ones left out; UsageError for a cycle."""
    resolved: dict[str, Mapping[str, Any]] = {}
    for name in file.images:
        _resolve(file, name, (), resolved)
    return {
        name: Entry(name, entry.where, merge([file.defaults.values, resolved[name]]))
        for name, entry in file.images.items()
        if not _is_abstract(entry)
    }


def _is_abstract(entry: Entry) -> bool:
    return "abstract" in entry.values and entry.values["abstract"].text == "true"


def _resolve(file: File, name: str, path: tuple[str, ...], resolved: dict[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    if name in resolved:
        return resolved[name]
    entry = file.images[name]
    below: list[Mapping[str, Any]] = []
    for base in entry.values.get("extends", ()):
        if base.text not in file.images:
            hint = nearest(base.text, file.images.keys() - {*path, name})
            base.refuse(f"there is no image {base.text!r} to extend", hint=hint)
        if base.text in (*path, name):
            circle = [*(*path, name)[(*path, name).index(base.text) :], base.text]
            base.refuse(f"images extend each other: {' -> '.join(circle)}", hint="take one of these out")
        below.append(_resolve(file, base.text, (*path, name), resolved))
    own = {key: value for key, value in entry.values.items() if key not in _OWN}
    resolved[name] = merge([*below, own])
    return resolved[name]


def merge(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Layers of values, lowest first: lists and maps that join are added up, all else is replaced."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            before = merged.get(key)
            if not IMAGE[key].joins or before is None:
                merged[key] = value
            elif isinstance(value, tuple):
                texts = {item.text for item in before}
                merged[key] = (*before, *(item for item in value if item.text not in texts))
            else:
                merged[key] = {**before, **value}
    return merged


def combinations(matrix: Matrix) -> list[dict[str, Text]]:
    """All combinations of a matrix, in the order of its axes, by the rules of GitHub Actions.

    exclude takes those away that have all its values. An entry of include is added to every combination whose own
    values it leaves as they are, and makes one of its own where there is none.
    """
    names = list(matrix.axes)
    own = (
        [dict(zip(names, values, strict=True)) for values in itertools.product(*matrix.axes.values())] if names else []
    )
    own = [combination for combination in own if not any(_has(combination, entry) for entry in matrix.exclude)]
    result = [dict(combination) for combination in own]
    for entry in matrix.include:
        fits = [
            at
            for at, combination in enumerate(own)
            if _has(combination, {key: entry[key] for key in entry if key in combination})
        ]
        for at in fits:
            result[at].update(entry)
        if not fits:
            result.append(dict(entry))
    return result


def _has(combination: Mapping[str, Text], values: Mapping[str, Text]) -> bool:
    return all(combination[key].text == value.text for key, value in values.items())


def variants(entry: Entry) -> Iterator[tuple[Entry, dict[str, Text]]]:
    """The images that one becomes by its matrix: each with the values of its axes set, and these values by name.

    The axes release, arch and output are those keys; one that is written as variables are (``DIB_FLAVOUR``) is that
    variable; any other is there for templates.
    """
    matrix = entry.values.get("matrix")
    plain = {key: value for key, value in entry.values.items() if key != "matrix"}
    if matrix is None:
        yield replace(entry, values=plain), {}
        return
    for combination in combinations(matrix):
        values = dict(plain)
        for name, text in combination.items():
            if name == "release":
                values[name] = text
            elif name == "arch":
                values[name] = (text,)
            elif name == "output":
                values["outputs"] = (text,)
            elif name.isupper():
                values["variables"] = {**values.get("variables", {}), name: text}
        yield replace(entry, values=values), combination


def filled(value: Any, words: Mapping[str, str]) -> Any:
    """A value with its templates, ``${{ NAME }}``, replaced; UsageError at the text that names what is not there."""
    if isinstance(value, tuple):
        return tuple(filled(inner, words) for inner in value)
    if isinstance(value, Mapping):
        return {key: filled(inner, words) for key, inner in value.items()}
    if not isinstance(value, Text):
        return value

    def put(match: re.Match[str]) -> str:
        if match[1] not in words:
            hint = nearest(match[1], words) or f"there is: {', '.join(sorted(words))}"
            value.refuse(f"the template names {match[1]!r}, which is not there", hint=hint)
        return words[match[1]]

    text = _TEMPLATE.sub(put, value.text)
    if "${{" in text:
        value.refuse(f"{value.text!r} has a template that cannot be read", hint="${{ release }}")
    return Text(text, value.where)
