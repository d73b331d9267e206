"""A YAML text read with the line of every value, so that a complaint can name file and line."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from blockdev.core.errors import UsageError

LONGEST = 1 << 19  # characters of a text
MOST = 200_000  # values of a text, each counted as often as an alias repeats it
DEEPEST = 100  # of values in one another
_SURELY_FINE = 1 << 16  # characters; without an alias so few take no time

Path = tuple[Hashable, ...]
_Places = tuple[dict[Path, int], dict[Path, int]]  # lines and columns
MERGE = "tag:yaml.org,2002:merge"


@dataclass(frozen=True)
class Document:
    """``data`` as plain Python values; ``lines`` has each value's line (from 1) by its path of keys and indices.

    ``columns`` has their columns (from 1) as well.
    """

    data: Any
    lines: Mapping[Path, int]
    file: str
    columns: Mapping[Path, int] = field(default_factory=dict)

    def where(self, *path: Hashable) -> str:
        """``file:line`` of the value at ``path``."""
        return f"{self.file}:{self.lines.get(path, 1)}"

    def exact(self, *path: Hashable) -> str:
        """``file:line:column`` of the value at ``path``."""
        return f"{self.where(*path)}:{self.columns.get(path, 1)}"

    def refuse(self, what: str, *path: Hashable, hint: str = "") -> NoReturn:
        """Raise the UsageError that says ``what`` is wrong at ``path``."""
        raise UsageError(what, where=self.where(*path), hint=hint)


def check_size(text: str, file: str) -> None:
    """Raise UsageError for a YAML text that is small and yet no end of work: by aliases of aliases, or by its depth.

    What is no YAML at all passes: whoever reads it says so.
    """
    if len(text) > LONGEST:
        raise UsageError(f"a text of {len(text)} characters, and {LONGEST} are allowed", where=file)
    sizes: dict[str, int] = {}  # of what has an anchor, once it is read
    open_: list[tuple[str | None, int]] = []  # anchor and size of each collection that is being read
    whole = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            where = f"{file}:{event.start_mark.line + 1 if event.start_mark else 1}"
            size = 1
            if isinstance(event, yaml.CollectionStartEvent):
                open_.append((event.anchor, 1))
                if len(open_) > DEEPEST:
                    raise UsageError(f"more than {DEEPEST} values in one another", where=where)
                continue
            if isinstance(event, yaml.CollectionEndEvent):
                anchor, size = open_.pop()
            elif isinstance(event, yaml.AliasEvent):
                anchor, size = None, sizes.get(event.anchor or "", 1)
                if any(event.anchor == other for other, _ in open_):
                    raise UsageError(f"*{event.anchor} contains itself", where=where)
            elif isinstance(event, yaml.ScalarEvent):
                anchor = event.anchor
            else:
                continue
            if anchor:
                sizes[anchor] = size
            if open_:
                open_[-1] = open_[-1][0], open_[-1][1] + size
            whole = open_[-1][1] if open_ else size
            if whole > MOST:
                raise UsageError(f"more than {MOST} values, those of aliases counted each time", where=where)
    except (yaml.YAMLError, ValueError, RecursionError):
        return


def json_of(text: str, file: str) -> Any:
    """Read a JSON text; raises json.JSONDecodeError, and UsageError for one that is too long or nested too deep."""
    if len(text) > LONGEST:
        raise UsageError(f"a text of {len(text)} characters, and {LONGEST} are allowed", where=file)
    try:
        return json.loads(text)
    except RecursionError as error:
        raise UsageError("values nested too deep in one another", where=file) from error
    except json.JSONDecodeError:
        raise
    except ValueError as error:  # a number without end
        raise json.JSONDecodeError(str(error), text, 0) from error


def read(text: str, file: str, *, texts: bool = False, twice: list[str] | None = None) -> Document:
    """Read one YAML document; UsageError for one that is malformed or has a key twice.

    ``texts`` leaves all scalars as the texts they are written as: ``0x83`` and ``8300`` are no numbers then.
    With a list ``twice`` a repeated key is no error: the last one counts and the list gets ``file:line: ...``
    (the files of DIB's elements are read so by DIB). Merge keys (``<<``) are followed.
    """
    lines: dict[Path, int] = {}
    columns: dict[Path, int] = {}
    if len(text) > _SURELY_FINE or "*" in text or text.count("[") + text.count("{") > DEEPEST:
        check_size(text, file)
    try:
        loader: Any = (yaml.BaseLoader if texts else yaml.SafeLoader)(text)
    except yaml.YAMLError as error:
        raise UsageError(f"this is no YAML: {ascii(str(error))[1:-1]}", where=file) from error
    try:
        root = loader.get_single_node()
        data = None if root is None else _value(loader, root, (), (lines, columns), file, twice)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise UsageError(f"this is no YAML: {error.problem or error.context}", where=f"{file}:{line}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"this is no YAML: {error}", where=file) from error
    except RecursionError as error:
        raise UsageError("values nested too deep in one another", where=file) from error
    finally:
        loader.dispose()
    return Document(data, lines, file, columns)


def _note(places: _Places, path: Path, node: Any) -> None:
    for numbers, number in zip(places, (node.start_mark.line, node.start_mark.column), strict=True):
        numbers[path] = number + 1


def _value(loader: Any, node: Any, path: Path, places: _Places, file: str, twice: list[str] | None) -> Any:
    _note(places, path, node)
    if isinstance(node, yaml.SequenceNode):
        return [_value(loader, item, (*path, index), places, file, twice) for index, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return _scalar(loader, node, file)
    mapping: dict[Any, Any] = {}
    own = {id(name) for name, _ in node.value}  # what a merge key brought may be overridden
    keys = set()
    for name, item in _flattened(node, file):
        key = _scalar(loader, name, file)
        if not isinstance(key, Hashable):
            raise UsageError(f"{key!r} cannot be a key", where=f"{file}:{name.start_mark.line + 1}")
        if key in keys:
            if twice is None:
                raise UsageError(f"{key!r} is there twice", where=f"{file}:{name.start_mark.line + 1}")
            twice.append(f"{file}:{name.start_mark.line + 1}: {key!r} is there twice")
        if id(name) in own:
            keys.add(key)
        mapping[key] = _value(loader, item, (*path, key), places, file, twice)
        _note(places, (*path, key), name)
    return mapping


def _flattened(node: Any, file: str) -> list[tuple[Any, Any]]:
    """The keys and values of a map, those that its merge keys bring first, and of these the least important first."""
    brought: list[tuple[Any, Any]] = []
    own = []
    for name, item in node.value:
        if not _is_merge(name):
            own.append((name, item))
            continue
        maps = item.value if isinstance(item, yaml.SequenceNode) else [item]
        for each in reversed(maps):
            if not isinstance(each, yaml.MappingNode):
                where = f"{file}:{name.start_mark.line + 1}"
                raise UsageError("<< takes a map, or a list of maps", where=where, hint="<<: *NAME, an anchor of a map")
            brought += _flattened(each, file)
    return [*brought, *own]


def _is_merge(name: Any) -> bool:
    # (a loader that leaves scalars as texts knows no such tag)
    return name.tag == MERGE or (isinstance(name, yaml.ScalarNode) and name.value == "<<" and name.style is None)


def _scalar(loader: Any, node: Any, file: str) -> Any:
    try:
        return loader.construct_object(node, deep=True)
    except (ValueError, OverflowError) as error:  # a number without end, the 99th of a month
        raise UsageError(f"this value is none: {error}", where=f"{file}:{node.start_mark.line + 1}") from error
