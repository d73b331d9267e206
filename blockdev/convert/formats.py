"""The formats a disk image can be asked for in: names, suffixes, and what may be said about each. Pure tables.

The names are those that diskimage-builder's ``-t`` and qemu-img take, and a few that say more precisely what is meant.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from blockdev.core.checksum_files import CHECKSUMS
from blockdev.core.errors import UsageError


@dataclass(frozen=True)
class Format:
    """One format. ``driver`` is qemu-img's name for it, empty where qemu-img has no part in it.

    ``compressions``: what may be chosen, the default first; ``levels``: the levels of a compression that has some, its
    default first; ``fixed``: qemu-img's options that make this format and no other; ``defaults``: those that a user
    may say otherwise.
    """

    name: str
    suffix: str
    about: str
    driver: str = ""
    aliases: tuple[str, ...] = ()
    compressions: tuple[str, ...] = ("none",)
    levels: tuple[int, range] | None = None
    fixed: Mapping[str, str] = field(default_factory=dict, hash=False)
    defaults: Mapping[str, str] = field(default_factory=dict, hash=False)


FORMATS = (
    Format("qcow2", ".qcow2", "QEMU, OpenStack", "qcow2", ("qcow",), ("zstd", "zlib", "none")),
    Format("raw", ".raw", "the disk byte for byte, sparse", aliases=("img",)),
    Format("raw.zst", ".raw.zst", "raw in zstd", "", ("zstd", "zst"), ("zstd",), (9, range(1, 20))),
    Format("raw.gz", ".raw.gz", "raw in gzip", "", ("gzip", "gz"), ("gzip",), (6, range(1, 10))),
    Format("raw.xz", ".raw.xz", "raw in xz", "", ("xz",), ("xz",), (6, range(10))),
    Format(
        "vmdk",
        ".vmdk",
        "VMware ESXi, OVF (streamOptimized)",
        "vmdk",
        ("vmdk-stream",),
        ("zlib",),
        (3, range(1, 10)),
        fixed={"subformat": "streamOptimized"},
        defaults={"adapter_type": "lsilogic"},  # an IDE disk is more than ESXi imports for most guests
    ),
    Format(
        "vmdk-sparse",
        ".vmdk",
        "VMware Workstation, VirtualBox (monolithicSparse)",
        "vmdk",
        fixed={"subformat": "monolithicSparse"},
    ),
    Format("vdi", ".vdi", "VirtualBox", "vdi"),
    # force_size: otherwise the disk becomes as long as a geometry of cylinders, heads and sectors makes it.
    Format(
        "vhd",
        ".vhd",
        "Xen, Hyper-V (dynamic)",
        "vpc",
        ("vpc", "vhd-dynamic"),
        fixed={"subformat": "dynamic", "force_size": "on"},
    ),
    Format("vhd-fixed", ".vhd", "Azure (fixed)", "vpc", ("azure",), fixed={"subformat": "fixed", "force_size": "on"}),
    Format("vhdx", ".vhdx", "Hyper-V", "vhdx", fixed={"subformat": "dynamic"}),
)
_BY_NAME = {name: form for form in FORMATS for name in (form.name, *form.aliases)}

# These would make an image that is not this disk, not all of it, or not the same twice.
_NEVER = ("backing_file", "backing_fmt", "data_file", "data_file_raw", "encryption", "size")
_OLD_QCOW2 = ("0.10", "v2")
_UNFIT = re.compile(r'[/\\"\x00-\x1f\x7f]')
_MOST_NAME = 200  # bytes; a VMDK's descriptor and a file's name have room for more


@dataclass(frozen=True)
class Wish:
    """What one output shall be.

    ``compression`` empty: the format's own; ``level`` None: the compression's own. ``options`` are further ones for
    qemu-img's ``-o``. ``name`` is what formats that hold their own file name hold (without suffix), ``epoch`` the time
    (seconds since 1970) for formats that hold one, and all their ids derive from ``seed``. ``checksums`` are written
    beside the output.
    """

    format: str
    name: str
    epoch: int
    seed: str
    compression: str = ""
    level: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    checksums: tuple[str, ...] = ("sha256",)


@dataclass(frozen=True)
class Plan:
    """A sound wish, everything chosen: ``options`` is complete, ``level`` 0 where there are no levels."""

    format: Format
    compression: str
    level: int
    options: Mapping[str, str]


def find(name: str) -> Format:
    """The format of a name or alias, in any case; UsageError where there is none."""
    format_ = _BY_NAME.get(name.lower())
    if format_ is None:
        raise UsageError(f"there is no disk format {name!r}", hint=f"choose among {', '.join(_names())}")
    return format_


def listed(text: str) -> tuple[Format, ...]:
    """The formats in a list with commas, as in ``qcow2,vmdk``; each once, in their order. Raises UsageError."""
    return tuple(dict.fromkeys(find(name.strip()) for name in text.split(",")))


def plan(wish: Wish) -> Plan:
    """What a wish comes to. Raises UsageError: unknown format, compression, level, checksum, or an option that this
    format decides or that would not give the whole disk. Which options qemu-img knows, only qemu-img can tell."""
    form = find(wish.format)
    _check_surroundings(wish)
    _check_options(form, wish.options)
    old = form.name == "qcow2" and wish.options.get("compat") in _OLD_QCOW2
    chosen = wish.compression or ("zlib" if old else form.compressions[0])
    if chosen not in form.compressions:
        raise UsageError(
            f"{form.name} cannot be compressed with {chosen!r}", hint=f"choose among {', '.join(form.compressions)}"
        )
    if old and chosen == "zstd":
        raise UsageError(
            "a qcow2 image of compat=0.10 cannot be compressed with zstd", hint="ask for zlib, or leave compat out"
        )
    options = {**form.fixed, **form.defaults, **wish.options}
    if form.name == "qcow2" and chosen == "zstd":
        options["compression_type"] = "zstd"
    return Plan(form, chosen, _level(form, wish.level), options)


def _names() -> list[str]:
    return [form.name for form in FORMATS]


def _check_surroundings(wish: Wish) -> None:
    if not wish.name or wish.name in {".", ".."} or _UNFIT.search(wish.name) or len(wish.name.encode()) > _MOST_NAME:
        raise UsageError(
            f"an image cannot be named {wish.name!r}",
            hint=f"use at most {_MOST_NAME} bytes, without slash, backslash, double quote and control characters",
        )
    for name in wish.checksums:
        if name not in CHECKSUMS:
            raise UsageError(f"there is no checksum {name!r}", hint=f"choose among {', '.join(CHECKSUMS)}")


def _check_options(form: Format, options: Mapping[str, str]) -> None:
    for key, value in options.items():
        where = f"{key}={value}"
        if not form.driver:
            raise UsageError(f"{form.name} has no options", where=where, hint="leave it out")
        if key in _NEVER or key.startswith("encrypt."):
            raise UsageError(f"the option {key!r} would not give this disk as one whole image", where=where)
        if key == "compression_type":
            raise UsageError(
                "the compression is not chosen by qemu-img's options", where=where, hint="ask for it itself"
            )
        if key in form.fixed:
            others = [other.name for other in FORMATS if other.driver == form.driver and other != form]
            hint = f"ask for the format {' or '.join(others)} instead" if others else "leave it out"
            raise UsageError(f"{form.name} has {key}={form.fixed[key]}, always", where=where, hint=hint)


def _level(form: Format, level: int | None) -> int:
    if form.levels is None:
        if level is not None:
            raise UsageError(f"{form.name} has no compression levels", hint="leave the level out")
        return 0
    default, levels = form.levels
    if level is None:
        return default
    if level not in levels:
        raise UsageError(f"{form.name} has no compression level {level}", hint=f"from {levels[0]} to {levels[-1]}")
    return level
