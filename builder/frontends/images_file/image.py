"""One image of an images file: the options of its build, and what goes with them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from blockdev.core.errors import UsageError
from builder.fleet.image import DEFAULT_MEMORY, ImageBuild, Needs, Retries
from builder.frontends.images_file.inherit import filled, inherited, variants
from builder.frontends.images_file.read import Entry, File, Text
from builder.frontends.images_file.schema import key_of
from builder.request.option_table import OPTIONS
from builder.request.option_table.option import InMap, Kind, Option, Reading
from builder.request.option_values import options_of
from builder.request.options import NAME, BuildOptions
from builder.request.outputs import NO_SLIM
from qemu.architecture import native
from stages.element.environment import VARIABLE

_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")
_MIB = {"MiB": 1, "GiB": 1024}


def images_of(file: File, destination: Path, elements_path: str) -> list[ImageBuild]:
    """All images of a file, in its order; their outputs go below ``destination``.

    ``elements_path`` (folders, with ``:``) is searched after the file's own. UsageError for what cannot be.
    """
    images: list[ImageBuild] = []
    for entry in inherited(file).values():
        for variant, axes in variants(entry):
            image = _image(variant, axes, file.path.parent, destination, elements_path)
            for other in images:
                if other.name == image.name:
                    entry.refuse(
                        f"two images have the name {image.name!r}: {other.key} and {image.key}",
                        hint="give each a name of its own: name: NAME-${{ release }}",
                    )
            images.append(image)
    return images


def _name_of(entry: Entry, axes: Mapping[str, Text], words: Mapping[str, str]) -> str:
    if "name" in entry.values:
        name: Text = filled(entry.values["name"], words)
        if not NAME.match(name.text):
            name.refuse(f"{name.text!r} cannot be an image's name", hint="letters, digits, '.', '_' and '-'")
        return name.text
    return "-".join([entry.name, *(_UNFIT.sub("-", text.text.partition(",")[0]).strip("-") for text in axes.values())])


def _image(entry: Entry, axes: Mapping[str, Text], folder: Path, destination: Path, elements_path: str) -> ImageBuild:
    arches = [text.text for text in entry.values.get("arch", ())]
    release = entry.values.get("release", Text(""))
    words = {name: text.text for name, text in axes.items()}
    words = {"arch": "-".join(arches) or native(), "release": release.text, "image": entry.name, **words}
    name = _name_of(entry, axes, words)
    values = filled({key: value for key, value in entry.values.items() if key != "name"}, {**words, "name": name})
    read_values = _ImageValues(values, folder)
    if not values.get("elements") and "from" not in values:
        entry.refuse(f"the image {entry.name} has no element", hint="elements: [debian-minimal]; or abstract: true")
    return ImageBuild(
        name=name,
        key=entry.name,
        where=entry.where,
        options=_options(read_values, name, destination, elements_path),
        axes={axis: text.text for axis, text in axes.items()},
        retries=_retries(read_values.map("retries")),
        needs=_needs(read_values.map("needs")),
        places=_places(values),
        inputs=tuple(read_values.inputs),
    )


class _ImageValues:
    """The values of one image as plain texts, paths made absolute."""

    def __init__(self, values: Mapping[str, Any], folder: Path) -> None:
        self.values = values
        self.folder = folder
        self.inputs: list[Path] = []

    def text(self, key: str) -> str:
        value = self.values.get(key)
        return value.text if isinstance(value, Text) else ""

    def texts(self, key: str) -> tuple[str, ...]:
        return tuple(value.text for value in self.values.get(key, ()))

    def map(self, key: str) -> dict[str, Text]:
        return dict(self.values.get(key, {}))

    def file(self, text: Text, what: str) -> str:
        """A file or folder beside the images file; refused where it is not there."""
        path = (self.folder / text.text).absolute()
        if not path.exists():
            text.refuse(f"{what}: there is no {path}")
        self.inputs.append(path)
        return str(path)


def _options(read_values: _ImageValues, name: str, destination: Path, elements_path: str) -> BuildOptions:
    """The options that say what is built, and what else is done with it."""
    values: dict[str, Any] = {"elements": read_values.texts("elements"), "destination": destination}
    for option in OPTIONS:
        if key_and_about := key_of(option):
            key, about = key_and_about
            values |= _value(option, key, about.reading, read_values, destination)
        elif option.doors.images_file == InMap("disk") and option.long.removeprefix("--") in read_values.map("disk"):
            values[option.name] = _of_disk(option.long.removeprefix("--"), read_values)
    folders = filter(None, [values.get("elements_path", ""), elements_path])
    return options_of({**values, "name": name, "elements_path": ":".join(folders)})


def _value(option: Option, key: str, reading: Reading, read_values: _ImageValues, destination: Path) -> dict[str, Any]:
    """What a key says of its option, by the option's name; nothing where the image does not have the key."""
    if key not in read_values.values:
        return {}
    match reading:
        case Reading.OWN:
            return _RULES[key](read_values)
        case Reading.COMMAS:
            value: Any = ",".join(read_values.texts(key))
        case Reading.FOLDERS:
            value = ":".join(read_values.file(each, key) for each in read_values.values[key])
        case Reading.BESIDE:
            value = read_values.file(read_values.values[key], key)
        case Reading.BELOW:
            value = destination / read_values.text(key) if read_values.text(key) else None
        case Reading.SETTINGS:
            value = tuple(_setting(variable, text) for variable, text in read_values.map(key).items())
        case Reading.INVERTED:
            value = read_values.text(key) == "false"
        case Reading.PLAIN:
            is_flag = option.kind is Kind.FLAG
            value = (
                read_values.text(key) == "true"
                if is_flag
                else read_values.texts(key)
                if option.multiple
                else read_values.text(key)
            )
    return {option.name: value} if value is not None else {}


def _setting(variable: str, text: Text) -> str:
    if not VARIABLE.match(variable):
        text.refuse(f"{variable!r} cannot be a variable's name")
    return f"{variable}={text.text}"


def _slim(read_values: _ImageValues) -> dict[str, Any]:
    """A policy, which may be a file; or none."""
    word = read_values.text("slim")
    if word in (NO_SLIM, "false"):
        return {"no_slim": True}
    is_file = "/" in word or word.endswith((".yaml", ".yml"))
    return {"slim": read_values.file(read_values.values["slim"], "slim") if is_file else word}


def _boot_test(read_values: _ImageValues) -> dict[str, Any]:
    """Whether a machine is started, and with which firmware."""
    firmware = read_values.text("boot-test")
    if firmware in ("", "false"):
        return {}
    return {"boot_test": True, "firmware": None if firmware == "true" else firmware}


_RULES: Mapping[str, Callable[[_ImageValues], dict[str, Any]]] = {"slim": _slim, "boot-test": _boot_test}


def _of_disk(key: str, read_values: _ImageValues) -> str | bool:
    text = read_values.map("disk")[key]
    if key == "privileged":
        if text.text not in ("true", "false"):
            text.refuse(f"privileged is {text.text!r}, expected true or false")
        return text.text == "true"
    return read_values.file(text, key) if key == "block-device" else text.text


def _retries(values: Mapping[str, Text]) -> Retries:
    default = Retries()
    times = int(values["times"].text) if "times" in values else 1 if values else 0
    after = values["after"].text if "after" in values else default.after
    return Retries(times, after, int(values["wait"].text) if "wait" in values else default.wait)


def _needs(values: Mapping[str, Text]) -> Needs:
    cpus = int(values["cpus"].text) if "cpus" in values else 1
    memory = DEFAULT_MEMORY
    if "memory" in values:
        number, unit = values["memory"].text[:-3].strip(), values["memory"].text[-3:]
        memory = int(float(number) * _MIB[unit])
    return Needs(max(1, cpus), memory)


def _places(values: Any) -> dict[str, str]:
    """The places of all texts by the texts; the first of equal ones counts."""
    places: dict[str, str] = {}

    def take(value: Any) -> None:
        if isinstance(value, Text):
            places.setdefault(value.text, value.where)
        elif isinstance(value, Mapping):
            for inner in value.values():
                take(inner)
        elif isinstance(value, tuple):
            for inner in value:
                take(inner)

    take(values)
    return places


def chosen(images: Sequence[ImageBuild], names: Sequence[str]) -> list[ImageBuild]:
    """The images with these names: whole ones, those of the file (all that a matrix makes of it), or with ``*``."""
    if not names:
        return list(images)
    from fnmatch import fnmatchcase

    from blockdev.core.suggest import nearest

    for name in names:
        if not any(fnmatchcase(image.name, name) or image.key == name for image in images):
            all_names = {image.name for image in images} | {image.key for image in images}
            hint = nearest(name, all_names) or f"there is: {', '.join(image.name for image in images)}"
            raise UsageError(f"there is no image {name!r}", hint=hint)
    return [each for each in images if any(fnmatchcase(each.name, name) or each.key == name for name in names)]
