"""What a row of the option table says (``builder.request.option_table``): an option, and where it can be said.

A build is asked for at several front doors: three commands, a file of many images, diskimage-builder's command, the
GitHub Action, Kubernetes; and ``dib-ctr`` itself tells users a command line that opens a shell. :class:`Doors` has all
of them, and says of each how the option is called there, or why it is not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any


class Kind(Enum):
    """What an option takes."""

    TEXT = "a text"
    FLAG = "nothing: it is said or not"
    CHOICE = "one of a few words"
    NUMBER = "a number from 1"
    PATH = "a file or folder"
    FILE = "a file to write"
    FOLDER = "a folder to write to"
    OWN_FILE = "a file that is there"


@dataclass(frozen=True)
class No:
    """A front door does not have the option: ``why``."""

    why: str


@dataclass(frozen=True)
class Here:
    """A command has the option, by its flags."""


class Form(Enum):
    """What the value of a key in an images file is."""

    TEXT = "a text"
    TEXTS = "a list of texts"
    FLAG = "true or false"
    NUMBER = "a whole number"
    MAP = "a map of texts"
    OUTPUTS = "a list of outputs"
    MATRIX = "a matrix"


class Reading(Enum):
    """How a value in an images file becomes the option's."""

    PLAIN = "as it is written"
    COMMAS = "a list, with commas between"
    FOLDERS = "folders beside the file, with colons between"
    BESIDE = "a file beside the file"
    BELOW = "a place below the folder of --dest"
    SETTINGS = "NAME=VALUE of each pair"
    INVERTED = "the flag is said where the file says false"
    OWN = "by a rule of its own (builder.frontends.images_file.image)"


@dataclass(frozen=True)
class Key:
    """One key of an images file: what its value is, what it is for, whether an image adds to what it extends.

    ``keys`` are those that a map may have (none: any), ``choices`` the texts that a value may be; ``name`` is set where
    a row of the option table has the key.
    """

    kind: Form
    about: str
    joins: bool = False
    keys: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    pattern: str = ""
    name: str = ""
    reading: Reading = Reading.PLAIN


@dataclass(frozen=True)
class InMap:
    """An images file has the option in the map ``map``, called as its flag is."""

    map: str


class Each(Enum):
    """How an input of the GitHub Action is taken apart."""

    WHOLE = "one value"
    LINE = "a value a line"
    WORD = "a value a word"
    TRUTH = "true or false"


@dataclass(frozen=True)
class Input:
    """Inputs of the GitHub Action that make the option, in this order; ``with_images``: beside images-file too.

    An input that is true or false may stand there, and counts for a build of elements alone.
    """

    names: tuple[str, ...]
    each: Each = Each.WHOLE
    with_images: bool = False


@dataclass(frozen=True)
class Doors:
    """The front doors: what the option is called at each, or why it is not there.

    ``build``, ``plan`` and ``shell`` are the commands; ``beside_file`` is a command line with ``-f``, where the option
    is said of all images; ``images_file`` is one image in such a file; ``dib`` is ``disk-image-create`` (an option or
    a variable); ``action`` the GitHub Action; ``kubernetes`` an option of ``dib-ctr k8s``, for what its pods run;
    ``hint`` the place in the command line of a shell that a failed build tells.
    """

    build: Here | No
    plan: Here | No
    shell: Here | No
    beside_file: Here | No
    images_file: Key | InMap | No
    dib: str | No
    action: Input | No
    kubernetes: str | No
    hint: int | No


@dataclass(frozen=True)
class Option:
    """One option. ``name`` is the parameter of the commands, ``field`` its place in ``BuildOptions`` (with dots).

    ``value`` is what a flag says of its field, ``only_beside_file`` an option that means nothing without ``-f``.
    """

    name: str
    flags: tuple[str, ...]
    help: str
    doors: Doors
    field: str = ""
    kind: Kind = Kind.TEXT
    choices: tuple[str, ...] = ()
    multiple: bool = False
    metavar: str | None = None
    default: Any = None
    show_default: bool = False
    environment: str | None = None
    value: Any = True
    only_beside_file: bool = False

    @property
    def field_name(self) -> str:
        """Where its value is in ``BuildOptions``."""
        return self.field or self.name

    @property
    def unsaid(self) -> Any:
        """The value where nobody says one."""
        if self.default is None and self.multiple:
            return ()
        return {Kind.FLAG: False, Kind.TEXT: ""}.get(self.kind, self.default)

    @property
    def long(self) -> str:
        """The flag in full."""
        return self.flags[-1]
