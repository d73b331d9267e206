"""The files of the command ``diskimage-builder``: lists of images, each told as a command line of disk-image-create.

Entries with one ``imagename`` are one image: later lists are appended, maps updated, all else replaced. An entry
without a name goes with the one before it; where none has a name, the variable IMAGE_NAME says it. An empty text is as
good as none.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from blockdev.core import yaml_document
from blockdev.core.errors import UsageError
from blockdev.core.suggest import nearest
from blockdev.core.yaml_document import Document

ARCHITECTURES = ("aarch64", "amd64", "arm64", "armhf", "powerpc", "ppc64", "ppc64el", "ppc64le", "s390x", "x86_64")
DEFAULT_NAME = "image"
TYPES = ("qcow2", "tar", "tgz", "squashfs", "vhd", "docker", "aci", "raw")
_FLAG, _TEXT, _NUMBER, _LIST = "true or false", "a text", "a whole number of 1 or more", "a list of texts"
_TEXTS = "a map of texts"
_PAIRS = "a map of texts, or one text"
_TRACE = 2
# What each key may have, in the order in which diskimage-builder puts them into the command line (DIB_ARGS keeps it).
KINDS: dict[str, str] = {
    "imagename": _TEXT,
    "arch": _TEXT,
    "types": _LIST,
    "environment": _TEXTS,
    "ramdisk": _FLAG,
    "debug-trace": "0, 1 or 2",
    "uncompressed": _FLAG,
    "clear": _FLAG,
    "logfile": _TEXT,
    "checksum": _FLAG,
    "image-size": _NUMBER,
    "image-extra-size": _NUMBER,
    "image-cache": _TEXT,
    "max-online-resize": _NUMBER,
    "min-tmpfs": _NUMBER,
    "mkfs-journal-size": _NUMBER,
    "mkfs-options": _TEXT,
    "no-tmpfs": _FLAG,
    "offline": _FLAG,
    "qemu-img-options": _PAIRS,
    "root-label": _TEXT,
    "ramdisk-element": _TEXT,
    "install-type": _TEXT,
    "docker-target": _TEXT,
    "packages": _LIST,
    "skip-base": _FLAG,
    "elements": _LIST,
}
_NO_OPTION = ("environment", "ramdisk")
_SHORT = {
    "imagename": "-o",
    "arch": "-a",
    "types": "-t",
    "debug-trace": "-x",
    "uncompressed": "-u",
    "clear": "-c",
    "packages": "-p",
    "skip-base": "-n",
}
_CHOICES = {"arch": ARCHITECTURES, "install-type": ("source", "package")}


@dataclass(frozen=True)
class Image:
    """One image: its command, its arguments, and the variables on top of the environment's.

    ``where`` is where its name is first given, ``arch`` its architecture where it names one.
    """

    name: str
    command: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    where: str = ""
    arch: str = ""


def read(files: Sequence[Path]) -> list[Image]:
    """The images of all files together, in the order in which they are first named.

    UsageError with file, line and column.
    """
    merged: dict[str, dict[str, Any]] = {}
    places: dict[str, str] = {}
    name = DEFAULT_NAME
    for file in files:
        try:
            document = yaml_document.read(file.read_text(encoding="utf-8"), str(file))
        except OSError as error:
            raise UsageError(f"the file cannot be read: {error.strerror}", where=str(file)) from error
        if not isinstance(document.data, list):
            _refuse(document, f"expected a list of images, found {_in_words(document.data)}")
        for number, entry in enumerate(document.data):
            _check(document, number, entry)
            name = entry.get("imagename", name)
            places.setdefault(name, document.exact(number))
            _merge(merged.setdefault(name, {}), entry)
    return [_image(name or DEFAULT_NAME, entry, places[name]) for name, entry in merged.items()]


def _refuse(document: Document, what: str, *path: Hashable, hint: str = "") -> NoReturn:
    raise UsageError(what, where=document.exact(*path), hint=hint)


def _in_words(value: object) -> str:
    names = {
        dict: "a map",
        list: "a list",
        str: "a text",
        bool: "true or false",
        int: "a number",
        type(None): "nothing",
    }
    return names.get(type(value), str(value))


def _fits(value: object, kind: str) -> bool:
    if kind == _FLAG:
        return isinstance(value, bool)
    if kind == _LIST:
        return isinstance(value, list) and all(isinstance(word, str) for word in value)
    if kind == _PAIRS and isinstance(value, str):
        return True
    if kind.startswith(_TEXTS):
        return isinstance(value, dict) and all(isinstance(word, str) for pair in value.items() for word in pair)
    if kind == _TEXT:
        return isinstance(value, str)
    least, most = (0, _TRACE) if kind.startswith("0") else (1, None)
    return type(value) is int and value >= least and (most is None or value <= most)


def _check(document: Document, number: int, entry: Any) -> None:
    if not isinstance(entry, dict):
        _refuse(document, f"expected a map for each image, found {_in_words(entry)}", number)
    for key, value in entry.items():
        if key not in KINDS:
            hint = nearest(str(key), KINDS) or f"keys: {', '.join(sorted(KINDS))}"
            _refuse(document, f"there is no key {key!r}", number, key, hint=hint)
        if not _fits(value, KINDS[key]):
            _refuse(document, f"{key} is {_in_words(value)}, expected {KINDS[key]}", number, key)
        if value not in _CHOICES.get(key, (value,)):
            _refuse(document, f"{key} is {value!r}, expected one of {', '.join(_CHOICES[key])}", number, key)
        for index, word in enumerate(value if key == "types" else ()):
            if word not in TYPES:
                hint = nearest(word, TYPES) or f"types: {', '.join(TYPES)}"
                _refuse(document, f"there is no type {word!r}", number, key, index, hint=hint)


def _merge(image: dict[str, Any], entry: Mapping[str, Any]) -> None:
    for key, value in entry.items():
        before = image.get(key)
        if isinstance(before, list):
            image[key] = [*before, *value]
        elif isinstance(before, dict):
            image[key] = {**before, **value}
        else:
            image[key] = value


def _image(name: str, entry: Mapping[str, Any], where: str) -> Image:
    words = [word for key in KINDS if key in entry and key not in _NO_OPTION for word in _words(key, entry[key])]
    command = "ramdisk-image-create" if entry.get("ramdisk") else "disk-image-create"
    return Image(name, command, tuple(words), entry.get("environment", {}), where, entry.get("arch", ""))


def _words(key: str, value: Any) -> list[str]:
    """What a key comes to on the command line; an empty text or list comes to nothing."""
    option = _SHORT.get(key, f"--{key}")
    if key == "elements":
        return list(value)
    if key == "debug-trace":
        return [option] * value
    if isinstance(value, bool):
        return [option] if value else []
    if isinstance(value, dict):
        value = ",".join(f"{name}={text}" for name, text in value.items())
    text = ",".join(value) if isinstance(value, list) else str(value)
    return [option, text] if text else []
