"""A YAML text read with the line of every value, so that a complaint can name file and line."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from stages.errors import UsageError

Path = tuple[Hashable, ...]
_Places = tuple[dict[Path, int], dict[Path, int]]  # lines and columns
_MERGE = "tag:yaml.org,2002:merge"


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


def read(text: str, file: str, *, texts: bool = False, twice: list[str] | None = None) -> Document:
    """Read one YAML document; UsageError for one that is malformed or has a key twice.

    ``texts`` leaves all scalars as the texts they are written as: ``0x83`` and ``8300`` are no numbers then.
    With a list ``twice`` a repeated key is no error: the last one counts and the list gets ``file:line: ...``
    (the files of DIB's elements are read so by DIB); merge keys (``<<``) are followed, too.
    """
    lines: dict[Path, int] = {}
    columns: dict[Path, int] = {}
    loader: Any = (yaml.BaseLoader if texts else yaml.SafeLoader)(text)
    try:
        root = loader.get_single_node()
        data = None if root is None else _value(loader, root, (), (lines, columns), file, twice)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise UsageError(f"this is no YAML: {error.problem or error.context}", where=f"{file}:{line}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"this is no YAML: {error}", where=file) from error
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
        return loader.construct_object(node, deep=True)
    found: dict[Any, Any] = {}
    merged: set[int] = set()  # what a merge key brought may be overridden
    if twice is not None and any(name.tag == _MERGE for name, _ in node.value):
        own = {id(name) for name, _ in node.value}
        loader.flatten_mapping(node)
        merged = {id(name) for name, _ in node.value} - own
    given = set()
    for name, item in node.value:
        key = loader.construct_object(name, deep=True)
        if not isinstance(key, Hashable):
            raise UsageError(f"{key!r} cannot be a key", where=f"{file}:{name.start_mark.line + 1}")
        if key in given:
            if twice is None:
                raise UsageError(f"{key!r} is there twice", where=f"{file}:{name.start_mark.line + 1}")
            twice.append(f"{file}:{name.start_mark.line + 1}: {key!r} is there twice")
        if id(name) not in merged:
            given.add(key)
        found[key] = _value(loader, item, (*path, key), places, file, twice)
        _note(places, (*path, key), name)
    return found
