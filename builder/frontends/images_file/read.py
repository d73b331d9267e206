"""Reading an images file: every value keeps its place (``file:line:column``), so that a complaint can name it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml

from blockdev.core.errors import UsageError
from blockdev.core.suggest import nearest
from blockdev.core.yaml_document import MERGE, check_size
from builder.frontends.images_file import schema
from builder.request.option_table.option import Form, Key
from builder.request.options import NAME


class _Texts(yaml.SafeLoader):
    """Every scalar is the text that it is written as: ``1.10`` and ``no`` are releases, too. Merge keys count."""

    yaml_implicit_resolvers = {"<": [(MERGE, re.compile(r"<<\Z"))]}  # noqa: RUF012 - as the base class has it


@dataclass(frozen=True)
class Text:
    """A text of the file and its place."""

    text: str
    where: str = ""

    def refuse(self, what: str, *, hint: str = "") -> NoReturn:
        """Raise the UsageError that says what is wrong here."""
        raise UsageError(what, where=self.where, hint=hint)


@dataclass(frozen=True)
class Matrix:
    """The axes with their values in order, and the entries that are taken away and added."""

    axes: Mapping[str, tuple[Text, ...]] = field(default_factory=dict)
    include: tuple[Mapping[str, Text], ...] = ()
    exclude: tuple[Mapping[str, Text], ...] = ()


@dataclass(frozen=True)
class Entry:
    """One image as it is written. ``values`` by key: a Text, a tuple or a map of them, or a Matrix."""

    name: str
    where: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def refuse(self, what: str, *, hint: str = "") -> NoReturn:
        """Raise the UsageError that says what is wrong with the image."""
        raise UsageError(what, where=self.where, hint=hint)


@dataclass(frozen=True)
class File:
    """A whole file of dib-ctr's own form."""

    path: Path
    defaults: Entry
    images: Mapping[str, Entry]


@dataclass(frozen=True)
class _Node:
    """A node of the document, and where it is in which file."""

    node: yaml.Node
    file: str

    @property
    def where(self) -> str:
        mark = self.node.start_mark
        return f"{self.file}:{mark.line + 1}:{mark.column + 1}"

    def refuse(self, what: str, *, hint: str = "") -> NoReturn:
        raise UsageError(what, where=self.where, hint=hint)

    @property
    def in_words(self) -> str:
        if isinstance(self.node, yaml.MappingNode):
            return "a map"
        if isinstance(self.node, yaml.SequenceNode):
            return "a list"
        return f"the text {self.node.value!r}" if self.node.value else "nothing"

    @property
    def is_nothing(self) -> bool:
        return isinstance(self.node, yaml.ScalarNode) and not self.node.value

    def pairs(self, what: str) -> dict[str, tuple[Text, _Node]]:
        """The keys of a map, each with its value; refused for anything else, and for a key that is there twice."""
        if not isinstance(self.node, yaml.MappingNode):
            self.refuse(f"{what} is {self.in_words}, expected a map")
        own: dict[str, tuple[Text, _Node]] = {}
        merged: dict[str, tuple[Text, _Node]] = {}
        for key, value in self.node.value:
            if key.tag == MERGE:
                for other in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    merged = {**_Node(other, self.file).pairs(what), **merged}
                continue
            name = _Node(key, self.file).text("a key")
            if name.text in own:
                name.refuse(f"{name.text!r} is there twice")
            own[name.text] = (name, _Node(value, self.file))
        return {**merged, **own}

    def items(self) -> list[_Node]:
        """The items of a list; a text alone is a list of one."""
        if isinstance(self.node, yaml.SequenceNode):
            return [_Node(item, self.file) for item in self.node.value]
        return [self]

    def text(self, what: str) -> Text:
        """A text; refused for anything else."""
        if not isinstance(self.node, yaml.ScalarNode):
            self.refuse(f"{what} is {self.in_words}, expected a text")
        return Text(str(self.node.value), self.where)


def is_list(path: Path) -> bool:
    """Is this a file of diskimage-builder's form; UsageError where it cannot be read."""
    return isinstance(_document(path).node, yaml.SequenceNode)


def _document(path: Path) -> _Node:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"the file cannot be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise UsageError("the file is no UTF-8", where=str(path)) from error
    check_size(text, str(path))
    try:
        node = yaml.compose(text, Loader=_Texts)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise UsageError(f"this is no YAML: {error.problem or error.context}", where=where) from error
    except yaml.YAMLError as error:
        raise UsageError(f"this is no YAML: {error}", where=str(path)) from error
    if node is None:
        raise UsageError("the file is empty", where=str(path), hint="images: with a name and elements for each")
    return _Node(node, str(path))


def read(path: Path) -> File:
    """Read a file of dib-ctr's own form: its shape is checked, extends and templates are still as written.

    UsageError with file, line and column for what is no such file.
    """
    top = _document(path)
    pairs = top.pairs("the file")
    for name, _ in pairs.values():
        if name.text not in schema.TOP:
            name.refuse(f"there is no key {name.text!r}", hint=_meant(name.text, schema.TOP))
    if "images" not in pairs:
        top.refuse("there are no images", hint="images: with a name and elements for each")
    defaults = Entry("defaults", top.where)
    if "defaults" in pairs:
        defaults = _entry(
            *pairs["defaults"], allowed=[key for key in schema.IMAGE if key not in schema.NOT_IN_DEFAULTS]
        )
    listed = pairs["images"][1]
    images = {}
    for name, node in listed.pairs("images").values():
        if not NAME.match(name.text):
            name.refuse(f"{name.text!r} cannot be an image's name", hint="letters, digits, '.', '_' and '-'")
        images[name.text] = _entry(name, node, allowed=list(schema.IMAGE))
    if not images:
        listed.refuse("there are no images", hint="a name and elements for each")
    return File(path, defaults, images)


def _meant(name: str, names: Sequence[str] | Mapping[str, object]) -> str:
    return nearest(name, names) or f"keys: {', '.join(names)}"


def _entry(name: Text, node: _Node, allowed: Sequence[str]) -> Entry:
    values: dict[str, Any] = {}
    for key, value in ({} if node.is_nothing else node.pairs(name.text)).values():
        if key.text not in allowed:
            why = f"there is no key {key.text!r}"
            if key.text in schema.IMAGE:
                why = f"{key.text} is for an image of its own, not for all"
            key.refuse(why, hint=_meant(key.text, allowed))
        values[key.text] = _value(key.text, schema.IMAGE[key.text], value)
    return Entry(name.text, name.where, values)


def _value(name: str, key: Key, node: _Node) -> Any:
    if key.kind == Form.TEXTS:
        return tuple(item.text(name) for item in node.items() if not node.is_nothing)
    if key.kind == Form.MAP:
        return _map(name, key, node)
    if key.kind == Form.OUTPUTS:
        return tuple(_output(item) for item in node.items())
    if key.kind == Form.MATRIX:
        return _matrix(node)
    return _scalar(name, key, node)


def _scalar(name: str, key: Key, node: _Node) -> Text:
    text = node.text(name)
    if key.choices and text.text not in key.choices:
        hint = nearest(text.text, key.choices) or f"one of {', '.join(key.choices)}"
        text.refuse(f"{name} is {text.text!r}", hint=hint)
    if key.kind == Form.FLAG and text.text not in ("true", "false"):
        text.refuse(f"{name} is {text.text!r}, expected true or false")
    if key.kind == Form.NUMBER and not re.fullmatch(r"[0-9]+", text.text):
        text.refuse(f"{name} is {text.text!r}, expected a whole number")
    if key.pattern and not re.fullmatch(key.pattern, text.text):
        text.refuse(f"{name} is {text.text!r}", hint="a number with its unit: 2GiB, 1536MiB")
    return text


def _map(name: str, key: Key, node: _Node) -> dict[str, Text]:
    if name == "retries" and isinstance(node.node, yaml.ScalarNode):
        return {"times": _scalar(name, schema.RETRIES["times"], node)}
    texts = {}
    for inner, value in node.pairs(name).values():
        if key.keys and inner.text not in key.keys:
            inner.refuse(f"there is no key {inner.text!r} in {name}", hint=_meant(inner.text, key.keys))
        inner_key = schema.INNER.get(name, {}).get(inner.text, Key(Form.TEXT, ""))
        texts[inner.text] = _scalar(inner.text, inner_key, value)
    return texts


def _output(node: _Node) -> Text:
    """An output as ``-o`` takes it, from a text or a map with its type and options."""
    if isinstance(node.node, yaml.ScalarNode):
        return node.text("an output")
    pairs = node.pairs("an output")
    if "type" not in pairs:
        node.refuse("an output has no type", hint="type: qcow2")
    words = [pairs["type"][1].text("type").text]
    for key, value in pairs.values():
        if key.text != "type":
            text = value.text(key.text)
            if "," in text.text:
                text.refuse(f"{key.text} is {text.text!r}: an option of an output has no comma")
            words.append(f"{key.text}={text.text}")
    return Text(",".join(words), node.where)


def _matrix(node: _Node) -> Matrix:
    axes: dict[str, tuple[Text, ...]] = {}
    entries: dict[str, tuple[Mapping[str, Text], ...]] = {"include": (), "exclude": ()}
    for key, value in node.pairs("matrix").values():
        if key.text in entries:
            entries[key.text] = tuple(_combination(key.text, item) for item in value.items())
            continue
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", key.text):
            key.refuse(
                f"{key.text!r} cannot be the name of an axis", hint="release, arch, output, or a variable's name"
            )
        axes[key.text] = tuple(item.text(key.text) for item in value.items())
        if not axes[key.text]:
            key.refuse(f"the axis {key.text} has no value")
    for combination in entries["exclude"]:
        for name, text in combination.items():
            if name not in axes:
                text.refuse(f"exclude names {name}, which is no axis", hint=_meant(name, axes))
    if not axes and not entries["include"]:
        node.refuse("the matrix has no axis", hint="release: [bookworm, trixie]")
    return Matrix(axes, entries["include"], entries["exclude"])


def _combination(name: str, node: _Node) -> Mapping[str, Text]:
    values = {key.text: value.text(key.text) for key, value in node.pairs(name).values()}
    if not values:
        node.refuse(f"{name} has an entry without a value")
    return values
