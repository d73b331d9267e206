"""The command lines of disk-image-create and ramdisk-image-create, read as getopt(1) reads them.

Options may stand anywhere, long ones may be cut short, and what is not understood ends with status 1, as there. Two
that diskimage-builder 3.43 names in its help and then refuses are taken: --image-extra-size, --mkfs-journal-size.
"""

from __future__ import annotations

import getopt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from blockdev.core.errors import BuildError

_SHORT = "a:ho:t:xucnp:"
_FLAGS = ("checksum", "no-tmpfs", "offline", "help", "version")
# With a value, and the variable that is the same, where there is one.
VALUES = {
    "min-tmpfs": "",
    "image-size": "DIB_IMAGE_SIZE",
    "image-extra-size": "DIB_IMAGE_EXTRA_SIZE",
    "image-cache": "",
    "max-online-resize": "MAX_ONLINE_RESIZE",
    "mkfs-journal-size": "DIB_JOURNAL_SIZE",
    "mkfs-options": "",
    "qemu-img-options": "QEMU_IMG_OPTIONS",
    "ramdisk-element": "RAMDISK_ELEMENT",
    "root-label": "ROOT_LABEL",
    "install-type": "DIB_DEFAULT_INSTALLTYPE",
    "docker-target": "",
    "logfile": "",
}
_NOT_SHORT = ("image-extra-size", "mkfs-journal-size")
DEFAULT_TYPE = "qcow2"


@dataclass(frozen=True)
class Asked:
    """What a command line asks for. ``values`` has the options with a value by their long name.

    ``trace`` is how often -x was given; ``types`` are as typed, ``packages`` in order. ``arch`` and ``name`` are None
    where nothing was said: an empty text sets the environment's aside.
    """

    elements: tuple[str, ...] = ()
    arch: str | None = None
    name: str | None = None
    types: tuple[str, ...] = (DEFAULT_TYPE,)
    packages: tuple[str, ...] = ()
    trace: int = 0
    uncompressed: bool = False
    clear: bool = False
    skip_base: bool = False
    checksum: bool = False
    no_tmpfs: bool = False
    offline: bool = False
    help: bool = False
    version: bool = False
    values: Mapping[str, str] = field(default_factory=dict)


def parse(command: str, argv: Sequence[str]) -> Asked:
    """Read the arguments of ``command``; BuildError (status 1) for what getopt would not take."""
    # The two that diskimage-builder's own command refuses make no other option's short form ambiguous.
    written = {word.partition("=")[0].removeprefix("--") for word in argv}
    longs = [*_FLAGS, *(f"{name}=" for name in VALUES if name not in _NOT_SHORT or name in written)]
    try:
        options, elements = getopt.gnu_getopt(list(argv), _SHORT, longs)
    except getopt.GetoptError as error:
        raise BuildError(f"{command}: {error}", hint=f"{command} --help lists its options") from error
    single = {name.lstrip("-"): value for name, value in options}
    flags = {name for name, _ in options}
    packages = [word for name, value in options if name == "-p" for word in value.split(",") if word]
    return Asked(
        # An argument may have several elements in it, or none: callers put a variable's text there.
        elements=tuple(word for argument in elements for word in argument.split()),
        arch=single.get("a"),
        name=single.get("o"),
        types=tuple(word for word in single.get("t", DEFAULT_TYPE).split(",") if word),
        packages=tuple(packages),
        trace=sum(name == "-x" for name, _ in options),
        uncompressed="-u" in flags,
        clear="-c" in flags,
        skip_base="-n" in flags,
        checksum="--checksum" in flags,
        no_tmpfs="--no-tmpfs" in flags,
        offline="--offline" in flags,
        help=bool(flags & {"-h", "--help"}),
        version="--version" in flags,
        values={name: single[name] for name in VALUES if name in single},
    )
