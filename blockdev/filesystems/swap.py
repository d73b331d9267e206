"""Swap space: one header page, as ``union swap_header`` in Linux's include/linux/swap.h has it."""

from __future__ import annotations

import struct
import uuid
from pathlib import Path

from blockdev.core.errors import BuildError
from blockdev.filesystems.region import Region
from blockdev.filesystems.spec import Spec

_PAGE = 4096
_LEAST_PAGES = 10
_HEADER = struct.Struct("<III16s16s")  # version, last page, bad pages, UUID, label
_HEADER_AT = 1024
_SIGNATURE = b"SWAPSPACE2"
_LABEL_MAX = 16


def page_size(options: tuple[str, ...]) -> int:
    """The page size in bytes: 4096, or what ``-p``/``--pagesize`` says (65536 for ppc64el)."""
    size = str(_PAGE)
    words = iter(options)
    for word in words:
        if word in ("-p", "--pagesize"):
            size = next(words, "")
        elif word.startswith("--pagesize="):
            size = word.partition("=")[2]
        else:
            raise BuildError(f"swap has no option {word!r}", hint="-p BYTES (the page size) is the only one")
    if not size.isdigit() or int(size) not in (1 << power for power in range(12, 17)):
        raise BuildError(f"{size!r} is no page size", hint="a power of two from 4096 to 65536")
    return int(size)


def header(spec: Spec, length: int) -> bytes:
    """The first page of a swap space of ``length`` bytes."""
    page = page_size(spec.options)
    pages = length // page
    label = spec.label.encode()
    if pages < _LEAST_PAGES:
        raise BuildError(f"{length} bytes are too small for swap", hint=f"it takes {_LEAST_PAGES * page} at least")
    if len(label) > _LABEL_MAX:
        raise BuildError(f"the label {spec.label!r} is too long for swap", hint=f"{_LABEL_MAX} bytes at most")
    body = _HEADER.pack(1, min(pages - 1, 2**32 - 1), 0, uuid.UUID(spec.volume_id).bytes, label)
    return bytes(_HEADER_AT) + body.ljust(page - _HEADER_AT - len(_SIGNATURE), b"\0") + _SIGNATURE


def write(spec: Spec, region: Region) -> int:
    """Write the header; returns the bytes that belong to the swap space."""
    first = header(spec, region.length)
    with Path(region.image).open("r+b") as image:
        image.seek(region.offset)
        image.write(first)
    return region.length // len(first) * len(first)


def check(region: Region) -> None:
    """Is there a header, and does the region hold all the pages it speaks of."""
    with Path(region.image).open("rb") as image:
        image.seek(region.offset)
        start = image.read(1 << 16)
    for page in (1 << power for power in range(12, 17)):
        if start[page - len(_SIGNATURE) : page] == _SIGNATURE:
            version, last, _, _, _ = _HEADER.unpack_from(start, _HEADER_AT)
            if version != 1 or (last + 1) * page > region.length:
                raise BuildError(f"the swap header (version {version}) speaks of {last + 1} pages", where=str(region))
            return
    raise BuildError("there is no swap space", where=str(region))
