"""One image of an images file, told as a command line of ``dib-ctr`` and what goes with it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from blockdev.core.errors import UsageError
from builder.fleet.image import DEFAULT_MEMORY, ImageBuild, Needs, Retries
from builder.frontends.images_file.inherit import filled, inherited, variants
from builder.frontends.images_file.read import Entry, File, Text
from builder.request.options import NAME
from builder.request.outputs import NO_SLIM
from builder.request.variables import VARIABLE
from qemu.architecture import native

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
    arguments = _arguments(said, name, destination, elements_path)
    return ImageBuild(
        name=name,
        key=entry.name,
        where=entry.where,
        arguments=tuple(arguments),
        more=tuple(_more(said, destination)),
        elements=said.texts("elements"),
        arches=said.texts("arch"),
        push=said.text("push"),
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


def _arguments(said: _Said, name: str, destination: Path, elements_path: str) -> list[str]:
    """The options that say what is built."""
    words = ["--name", name]
    if said.texts("arch"):
        words += ["--arch", ",".join(said.texts("arch"))]
    for key, flag in (("release", "--release"), ("from", "--from"), ("snapshot", "--snapshot")):
        if said.text(key):
            words += [flag, said.text(key)]
    if "locked" in said.values:
        words += ["--locked", said.file(said.values["locked"], "locked")]
    folders = [said.file(one, "elements-path") for one in said.values.get("elements-path", ())]
    if folders or elements_path:
        words += ["--elements-path", ":".join([*folders, *filter(None, [elements_path])])]
    for variable, text in said.map("variables").items():
        if not VARIABLE.match(variable):
            text.refuse(f"{variable!r} cannot be a variable's name")
        words += ["--set", f"{variable}={text.text}"]
    for secret in said.texts("secrets"):
        words += ["--secret", secret]
    for package in said.texts("packages"):
        words += ["--package", package]
    for output in said.texts("outputs"):
        words += ["--output", output]
    words += ["--dest", str(destination / said.text("dest"))]
    for cache in said.texts("cache-from"):
        words += ["--cache-from", cache]
    if said.text("offline") == "true":
        words.append("--offline")
    if said.text("documents") == "false":
        words.append("--no-documents")
    return [*words, *_slim(said), *_disk(said)]


def _slim(said: _Said) -> list[str]:
    word = said.text("slim")
    if not word:
        return []
    if word in (NO_SLIM, "false"):
        return ["--no-slim"]
    return [
        "--slim",
        said.file(said.values["slim"], "slim") if "/" in word or word.endswith((".yaml", ".yml")) else word,
    ]


def _disk(said: _Said) -> list[str]:
    words: list[str] = []
    for key, text in said.map("disk").items():
        if key == "privileged":
            if text.text not in ("true", "false"):
                text.refuse(f"privileged is {text.text!r}, expected true or false")
            words += ["--privileged"] if text.text == "true" else []
        elif key == "block-device":
            words += ["--block-device", said.file(text, key)]
        else:
            words += [f"--{key}", text.text]
    return words


def _more(said: _Said, destination: Path) -> list[str]:
    """The options that say what else is done with it."""
    words = [word for cache in said.texts("cache-to") for word in ("--cache-to", cache)]
    if said.text("lock"):
        words += ["--lock", str(destination / said.text("lock"))]
    if said.text("push"):
        words += ["--push", said.text("push")]
    if said.text("load") == "true":
        words.append("--load")
    firmware = said.text("boot-test")
    if firmware and firmware != "false":
        words += ["--boot-test", *([] if firmware == "true" else ["--firmware", firmware])]
    return words


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
