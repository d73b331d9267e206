"""Values of the option table's rows: from what a front door was told to ``BuildOptions``, and to command lines.

A command line is made to be shown to people, or to start another process: nothing here is parsed again.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blockdev.core.errors import UsageError
from blockdev.core.suggest import nearest
from builder.request.option_table import OPTIONS, of_command
from builder.request.option_table.option import Kind, Option
from builder.request.options import (
    BuildOptions,
    DiskOptions,
    EngineOptions,
    LockOptions,
    PushOptions,
    ReportOptions,
)

if TYPE_CHECKING:
    from stages.redaction.redaction import Redaction

_PARTS = {
    "engine": EngineOptions,
    "locks": LockOptions,
    "disk": DiskOptions,
    "push": PushOptions,
    "shown": ReportOptions,
}
_UNSAID = BuildOptions()
_PATHS = (Kind.PATH, Kind.FILE, Kind.FOLDER, Kind.OWN_FILE)


def options_of(values: Mapping[str, Any]) -> BuildOptions:
    """The options that have these values, by the names of their rows and ``elements``; others are left as nobody said
    them. UsageError where two exclude each other."""
    whole: dict[str, Any] = {"elements": tuple(values.get("elements", ()))}
    parts: dict[str, dict[str, Any]] = {part: {} for part in _PARTS}
    by_place: dict[str, Option] = {}
    for option in OPTIONS:
        value = _chosen_value(option, values.get(option.name))
        if value is None:
            continue
        if option.name == "outputs":
            value = tuple(map(_output, value))
        if option.field_name in by_place:
            raise UsageError(f"{by_place[option.field_name].long} and {option.long} exclude each other")
        by_place[option.field_name] = option
        part, _, name = option.field_name.rpartition(".")
        (parts[part] if part else whole)[name] = value
    return BuildOptions(**whole, **{part: _PARTS[part](**fields) for part, fields in parts.items()})


def _output(text: str) -> str:
    """``TYPE[,key=value]...``, also of an output whose type stands among its options (``type=oci,dest=image.oci``)."""
    pairs = text.split(",")
    kind = next((pair for pair in pairs if pair.startswith("type=")), "")
    return ",".join([kind[5:], *(pair for pair in pairs if pair != kind)]) if kind else text


def _chosen_value(option: Option, value: Any) -> Any:
    """The value of the option's field; None where nobody said one."""
    if value is None or value == option.unsaid:
        return None
    if option.kind is Kind.FLAG:
        return option.value
    if option.multiple:
        return tuple(Path(each) if option.kind in _PATHS else each for each in value)
    return Path(value) if option.kind in _PATHS else value


def value_of(option: Option, options: BuildOptions) -> Any:
    """The value of an option's field."""
    return operator.attrgetter(option.field_name)(options)


def words(options: BuildOptions) -> list[str]:
    """What ``dib-ctr build`` is told of these options in a process of its own, without the elements."""
    return [word for option in of_command("build") for word in _words(option, options, option.long)]


def _words(option: Option, options: BuildOptions, flag: str) -> Iterable[str]:
    value = value_of(option, options)
    if value == value_of(option, _UNSAID):
        return ()
    if option.kind is Kind.FLAG:
        return (flag,) if value == option.value else ()
    if any(
        other.field_name == option.field_name and other.value == value for other in OPTIONS if other.kind is Kind.FLAG
    ):
        return ()  # that flag says it
    if option.multiple:
        return (word for each in value for word in (flag, str(each)))
    return flag, str(value)


def shell_command(options: BuildOptions, redaction: Redaction | None = None) -> list[str]:
    """The command line that opens a shell with the same request; secrets are named, and come from the environment."""
    shown = _without_secrets(options, redaction)
    rows = [(option.doors.hint, option) for option in OPTIONS if isinstance(option.doors.hint, int)]
    in_order = [option for _, option in sorted(rows, key=operator.itemgetter(0))]
    return [
        *("dib-ctr", "shell"),
        *(word for option in in_order for word in _words(option, shown, option.flags[0])),
        *options.elements,
    ]


def build_command(options: BuildOptions, redaction: Redaction | None = None) -> list[str]:
    """The command line that builds the same again, whatever this build showed of itself; secrets are named."""
    shown = replace(_without_secrets(options, redaction), shown=ReportOptions())
    rows = of_command("build")
    return [
        *("dib-ctr", "build"),
        *(word for option in rows for word in _words(option, shown, option.flags[0])),
        *options.elements,
    ]


def _without_secrets(options: BuildOptions, redaction: Redaction | None) -> BuildOptions:
    """The options with secret variables named, not told: their values come from the environment."""
    secret, plain = [], []
    for setting in options.settings:
        name, _, value = setting.partition("=")
        if redaction and redaction.is_in(name, value):
            secret.append(name)
        else:
            plain.append(setting)
    return replace(options, settings=tuple(plain), secrets=tuple(dict.fromkeys([*options.secrets, *secret])))


def from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The values that options have from their variables, by the names of the rows; UsageError for one that is none."""
    values = {}
    for option in OPTIONS:
        value = environment.get(option.environment, "") if option.environment else ""
        if value and option.choices and value not in option.choices:
            choices = ", ".join(map(repr, option.choices))
            raise UsageError(f"Invalid value for '{option.long}': {value!r} is not one of {choices}.")
        if value:
            values[option.name] = value
    return values


def check_folders(options: BuildOptions) -> None:
    """UsageError where a folder is named that is a file (the commands' own parser has looked already)."""
    for option in OPTIONS:
        folder = value_of(option, options) if option.kind is Kind.FOLDER else None
        if folder and folder.exists() and not folder.is_dir():
            raise UsageError(f"Invalid value for '{option.long}': Directory {str(folder)!r} is a file.")


def with_elements(options: BuildOptions, environment: Mapping[str, str]) -> BuildOptions:
    """The options with the folders of elements that are named by a path (``./elements/motd``) searched first.

    UsageError where nothing says what to build, or a path leads to no folder.
    """
    if not options.elements and not options.base:
        raise UsageError("no element is named", hint="`dib-ctr elements` lists all there are; or --from IMAGE")
    names, folders = element_names(options.elements)
    if not folders:
        return options
    searched = options.elements_path or environment.get("ELEMENTS_PATH", "")
    return replace(options, elements=names, elements_path=":".join(filter(None, [*folders, searched])))


def element_names(elements: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The names of elements of which some may be paths, and the folders in which these are; UsageError for a path
    that leads to no folder."""
    names, folders = [], []
    for element in elements:
        path = Path(element)
        if "/" in element and not path.is_dir():
            neighbours = [str(other) for other in path.parent.iterdir()] if path.parent.is_dir() else []
            hint = nearest(str(path), neighbours) or "the folder of an element, or its name"
            raise UsageError(f"there is no element {element}", hint=hint)
        if "/" in element:
            path = path.resolve()
            folders.append(str(path.parent))
        names.append(path.name if "/" in element else element)
    return tuple(names), list(dict.fromkeys(folders))
