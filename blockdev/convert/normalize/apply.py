"""Writing what each format's module makes of an image's header back into the image."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from blockdev.convert.normalize import vdi, vhd, vhdx, vmdk
from blockdev.core.derived_ids import content_id, format_id

_BLOCK = 4096


def pin(image: Path, driver: str, seed: str, epoch: int) -> None:
    """Replace in an image what qemu-img made at random or of the clock. BuildError where it is not of this format."""
    change = _PINS.get(driver)
    if change is not None:
        with image.open("r+b") as file:
            change(file, seed, epoch)


def _read(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)


def _write(file: BinaryIO, offset: int, data: bytes) -> None:
    file.seek(offset)
    file.write(data)


def _vmdk(file: BinaryIO, seed: str, _epoch: int) -> None:
    offset, length = vmdk.descriptor_place(_read(file, 0, vmdk.HEADER))
    _write(file, offset, vmdk.pinned(_read(file, offset, length), content_id(seed)))


def _vdi(file: BinaryIO, seed: str, _epoch: int) -> None:
    header = _read(file, 0, vdi.HEADER)
    _write(file, 0, vdi.pinned(header, format_id(seed, "vdi/image"), format_id(seed, "vdi/modification")))


def _vhd(file: BinaryIO, seed: str, epoch: int) -> None:
    offset = file.seek(-vhd.FOOTER, os.SEEK_END)
    footer = vhd.pinned(_read(file, offset, vhd.FOOTER), epoch, format_id(seed, "vhd"))
    _write(file, offset, footer)
    if not vhd.is_fixed(footer):
        _write(file, 0, vhd.pinned(_read(file, 0, vhd.FOOTER), epoch, format_id(seed, "vhd")))


def _vhdx(file: BinaryIO, seed: str, _epoch: int) -> None:
    first, second = (_read(file, offset, vhdx.HEADER) for offset in vhdx.HEADERS)
    headers = vhdx.pinned(first, second, format_id(seed, "vhdx/file"), format_id(seed, "vhdx/data"))
    for offset, header in zip(vhdx.HEADERS, headers, strict=True):
        _write(file, offset, header)
    _blank(file, *vhdx.log_place(headers[0]))
    region, _ = vhdx.metadata_place(_read(file, vhdx.REGION_TABLE, vhdx.TABLE))
    offset = region + vhdx.page_83_place(_read(file, region, vhdx.TABLE))
    _write(file, offset, format_id(seed, "vhdx/disk").bytes_le)


def _blank(file: BinaryIO, offset: int, length: int) -> None:
    """Zeros, written only where something else is: holes stay holes."""
    for at in range(offset, offset + length, _BLOCK):
        if any(_read(file, at, _BLOCK)):
            _write(file, at, bytes(_BLOCK))


_PINS: Mapping[str, Callable[[BinaryIO, str, int], None]] = {"vmdk": _vmdk, "vdi": _vdi, "vpc": _vhd, "vhdx": _vhdx}
