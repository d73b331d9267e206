"""The options of a disk's layout: from the command line, else from diskimage-builder's variables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from blockdev.configuration.sizes import parse_bytes
from blockdev.core.errors import UsageError
from blockdev.layout.options import Options
from builder.request.options import DiskOptions

_GIB, _MIB, _KIB = 1 << 30, 1 << 20, 1 << 10
_NAMES = {_GIB: "GiB", _MIB: "MiB"}
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_OTHER_UNIT = re.compile(r"[KMGTP](?:i?B)?|B(?:ytes?)?", re.IGNORECASE)
_EFI = "block-device-efi"
_FOR_EFI = 525 * _MIB  # what diskimage-builder adds to every size for it, one that is asked for counted in


def options_of(
    asked: DiskOptions,
    variables: Mapping[str, str],
    environment: Mapping[str, str],
    seed: str,
    elements: Iterable[str] = (),
) -> Options:
    """The options of a layout. The sizes in diskimage-builder's variables mean what they mean there: see _of_variable.

    ``elements`` are the names of the image's elements. UsageError for a size that is none.
    """

    def setting(option: str, *names: str) -> str:
        values = [option, *(variables.get(variable) or environment.get(variable, "") for variable in names)]
        return next((value for value in values if value), "")

    journal = setting(asked.journal_size, "DIB_JOURNAL_SIZE")
    sector = setting("", "DIB_BLOCK_SIZE")
    if journal and not journal.isdecimal():
        raise UsageError(f"the journal's size is {journal!r}", hint="a number of MiB, such as 64")
    if sector and sector not in {"512", "4096"}:
        raise UsageError(f"DIB_BLOCK_SIZE is {sector!r}", hint="512 or 4096 (bytes)")
    size = _size(asked.image_size, "--image-size", _GIB)
    if size is None and (size := _of_variable("DIB_IMAGE_SIZE", setting("", "DIB_IMAGE_SIZE"), _GIB)):
        size += _FOR_EFI if any(_EFI in element for element in elements) else 0
    extra = _size(asked.extra_size, "--image-extra-size", _MIB)
    if extra is None:
        extra = _of_variable("DIB_IMAGE_EXTRA_SIZE", setting("", "DIB_IMAGE_EXTRA_SIZE"), _MIB)
    return Options(
        root_type=setting(asked.root_fs, "FS_TYPE") or Options.root_type,
        root_label=setting(asked.root_label, "ROOT_LABEL"),
        root_options=tuple(asked.mkfs_options.split()),
        size=size,
        extra=extra,
        journal=int(journal) if journal else Options.journal,
        max_resize=setting(asked.max_online_resize, "MAX_ONLINE_RESIZE"),
        block_size=int(sector) if sector else None,
        seed=seed,
    )


def _size(text: str, option: str, unit: int) -> int | None:
    """Bytes of an option's size, None for no text; a plain number counts in ``unit``."""
    if not text:
        return None
    try:
        plain = float(text)
    except ValueError:
        try:
            return parse_bytes(text)
        except ValueError:
            plain = 0
    if not 0 < plain < float("inf"):
        raise UsageError(f"{option} is {text!r}", hint=f"a number of {_NAMES[unit]}, or with a unit: 2500MiB")
    return int(plain * unit)


def _of_variable(name: str, text: str, unit: int) -> int | None:
    """Bytes of a size in one of diskimage-builder's variables, None for no text.

    There awk reads it: the number that the first word begins with, in ``unit`` whatever comes after it, cut to whole
    KiB. ``5G``, ``5Gb`` and ``5GiB`` are 5 GiB so; another unit would not be what its author means, and is refused.
    """
    if not text.strip():
        return None
    number = _NUMBER.match(text.strip())
    plain = float(number[0]) if number else 0.0
    if not 0 < plain < float("inf"):
        raise UsageError(f"{name} is {text!r}", hint=f"a number of {_NAMES[unit]}")
    after = text.strip()[number.end() :].strip() if number else ""
    if _OTHER_UNIT.fullmatch(after) and after[0].upper() != _NAMES[unit][0]:
        raise UsageError(
            f"{name} is {text!r}, which diskimage-builder takes for {plain:g} {_NAMES[unit]}: its unit is always that",
            hint=f"say it in {_NAMES[unit]}",
        )
    return int(plain * (unit // _KIB)) * _KIB
