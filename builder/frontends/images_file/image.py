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
    found: list[ImageBuild] = []
    for entry in inherited(file).values():
        for variant, axes in variants(entry):
            image = _image(variant, axes, file.path.parent, destination, elements_path)
            for other in found:
                if other.name == image.name:
                    entry.refuse(
                        f"two images have the name {image.name!r}: {other.key} and {image.key}",
                        hint="give each a name of its own: name: NAME-${{ release }}",
                    )
            found.append(image)
    return found


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
    said = _Said(values, folder)
    if not values.get("elements") and "from" not in values:
        entry.refuse(f"the image {entry.name} has no element", hint="elements: [debian-minimal]; or abstract: true")
    return ImageBuild(
        name=name,
        key=entry.name,
        where=entry.where,
        options=_options(said, name, destination, elements_path),
        axes={axis: text.text for axis, text in axes.items()},
        retries=_retries(said.map("retries")),
        needs=_needs(said.map("needs")),
        places=_places(values),
        inputs=tuple(said.inputs),
    )


class _Said:
    """The values of one image as plain texts, paths made absolute."""

    def __init__(self, values: Mapping[str, Any], folder: Path) -> None:
        self.values = values
        self.folder = folder
        self.inputs: list[Path] = []

    def text(self, key: str) -> str:
        value = self.values.get(key)
        return value.text if isinstance(value, Text) else ""

    def texts(self, key: str) -> tuple[str, ...]:
        return tuple(one.text for one in self.values.get(key, ()))

    def map(self, key: str) -> dict[str, Text]:
        return dict(self.values.get(key, {}))

    def file(self, text: Text, what: str) -> str:
        """A file or folder beside the images file; refused where it is not there."""
        path = (self.folder / text.text).absolute()
        if not path.exists():
            text.refuse(f"{what}: there is no {path}")
        self.inputs.append(path)
        return str(path)


def _options(said: _Said, name: str, destination: Path, elements_path: str) -> BuildOptions:
    """The options that say what is built, and what else is done with it."""
    values: dict[str, Any] = {"elements": said.texts("elements"), "destination": destination}
    for option in OPTIONS:
        if found := key_of(option):
            key, about = found
            values |= _value(option, key, about.reading, said, destination)
        elif option.doors.images_file == InMap("disk") and option.long.removeprefix("--") in said.map("disk"):
            values[option.name] = _of_disk(option.long.removeprefix("--"), said)
    folders = filter(None, [values.get("elements_path", ""), elements_path])
    return options_of({**values, "name": name, "elements_path": ":".join(folders)})


def _value(option: Option, key: str, reading: Reading, said: _Said, destination: Path) -> dict[str, Any]:
    """What a key says of its option, by the option's name; nothing where the image does not have the key."""
    if key not in said.values:
        return {}
    match reading:
        case Reading.OWN:
            return _RULES[key](said)
        case Reading.COMMAS:
            value: Any = ",".join(said.texts(key))
        case Reading.FOLDERS:
            value = ":".join(said.file(each, key) for each in said.values[key])
        case Reading.BESIDE:
            value = said.file(said.values[key], key)
        case Reading.BELOW:
            value = destination / said.text(key) if said.text(key) else None
        case Reading.SETTINGS:
            value = tuple(_setting(variable, text) for variable, text in said.map(key).items())
        case Reading.INVERTED:
            value = said.text(key) == "false"
        case Reading.PLAIN:
            is_flag = option.kind is Kind.FLAG
            value = said.text(key) == "true" if is_flag else said.texts(key) if option.multiple else said.text(key)
    return {option.name: value} if value is not None else {}


def _setting(variable: str, text: Text) -> str:
    if not VARIABLE.match(variable):
        text.refuse(f"{variable!r} cannot be a variable's name")
    return f"{variable}={text.text}"


def _slim(said: _Said) -> dict[str, Any]:
    """A policy, which may be a file; or none."""
    word = said.text("slim")
    if word in (NO_SLIM, "false"):
        return {"no_slim": True}
    is_file = "/" in word or word.endswith((".yaml", ".yml"))
    return {"slim": said.file(said.values["slim"], "slim") if is_file else word}


def _boot_test(said: _Said) -> dict[str, Any]:
    """Whether a machine is started, and with which firmware."""
    firmware = said.text("boot-test")
    if firmware in ("", "false"):
        return {}
    return {"boot_test": True, "firmware": None if firmware == "true" else firmware}


_RULES: Mapping[str, Callable[[_Said], dict[str, Any]]] = {"slim": _slim, "boot-test": _boot_test}


def _of_disk(key: str, said: _Said) -> str | bool:
    text = said.map("disk")[key]
    if key == "privileged":
        if text.text not in ("true", "false"):
            text.refuse(f"privileged is {text.text!r}, expected true or false")
        return text.text == "true"
    return said.file(text, key) if key == "block-device" else text.text


def _retries(said: Mapping[str, Text]) -> Retries:
    default = Retries()
    times = int(said["times"].text) if "times" in said else 1 if said else 0
    after = said["after"].text if "after" in said else default.after
    return Retries(times, after, int(said["wait"].text) if "wait" in said else default.wait)


def _needs(said: Mapping[str, Text]) -> Needs:
    cpus = int(said["cpus"].text) if "cpus" in said else 1
    memory = DEFAULT_MEMORY
    if "memory" in said:
        number, unit = said["memory"].text[:-3].strip(), said["memory"].text[-3:]
        memory = int(float(number) * _MIB[unit])
    return Needs(max(1, cpus), memory)


def _places(values: Any) -> dict[str, str]:
    """The places of all texts by the texts; the first of equal ones counts."""
    found: dict[str, str] = {}

    def take(value: Any) -> None:
        if isinstance(value, Text):
            found.setdefault(value.text, value.where)
        elif isinstance(value, Mapping):
            for one in value.values():
                take(one)
        elif isinstance(value, tuple):
            for one in value:
                take(one)

    take(values)
    return found


def chosen(images: Sequence[ImageBuild], names: Sequence[str]) -> list[ImageBuild]:
    """The images with these names: whole ones, those of the file (all that a matrix makes of it), or with ``*``."""
    if not names:
        return list(images)
    from fnmatch import fnmatchcase

    from blockdev.core.suggest import nearest

    for name in names:
        if not any(fnmatchcase(image.name, name) or image.key == name for image in images):
            known = {image.name for image in images} | {image.key for image in images}
            hint = nearest(name, known) or f"there is: {', '.join(image.name for image in images)}"
            raise UsageError(f"there is no image {name!r}", hint=hint)
    return [one for one in images if any(fnmatchcase(one.name, name) or one.key == name for name in names)]
