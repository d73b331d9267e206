"""Puts what an s390x disk starts into its zIPL partition, and the record that leads there into its first block."""

from __future__ import annotations

from pathlib import Path

from blockdev.bootloader.zipl import config, tables
from blockdev.bootloader.zipl.kernel import read
from blockdev.bootloader.zipl.placement import Placed, lay_out
from blockdev.bootloader.zipl.tables import BLOCK
from blockdev.configuration.sizes import shown
from blockdev.core.errors import BuildError
from blockdev.core.rooted_path import inside
from blockdev.filesystems.region import Region, copy_range


def embed(image: Path, tree: Path, start: int, room: int) -> Placed:
    """Make a disk image start what the tree's /etc/zipl.conf names.

    ``start`` and ``room`` are the partition's first byte and its length. Partition table and disk id stay. Raises
    BuildError before anything is written: the settings or a file they name are not there or are not what they should
    be, or there is too little room.
    """
    if start < BLOCK or start % BLOCK:
        raise ValueError(f"byte {start} is no begin of a partition")
    written = inside(tree, config.FILE)
    if written is None or not written.is_file():
        raise BuildError("there is no /etc/zipl.conf in the image", hint="add the element bootloader, which writes it")
    program = config.read(written.read_text(encoding="utf-8", errors="replace"), f"/{config.FILE}")
    kernel = read(_file(tree, program.image, "kernel").read_bytes(), program.image)
    ramdisk = _file(tree, program.ramdisk, "ram disk") if program.ramdisk else None
    length = ramdisk.stat().st_size if ramdisk else 0
    placed = lay_out(start // BLOCK, kernel.length, length)
    loaded = kernel.prepared(program.parameters, (placed.ramdisk.address, length) if placed.ramdisk else (0, 0))
    if placed.takes > room:
        raise BuildError(
            f"the kernel and its ram disk have no room in the zIPL partition: they take {shown(placed.takes)}, and"
            f" there are {shown(room)}",
            where=f"{image}, byte {start}",
            hint="make the partition larger in a layout of your own (--block-device FILE; docs/bootloader.md), or the"
            " ram disk smaller (initramfs-tools: MODULES=dep or COMPRESS=xz)",
        )
    with image.open("r+b") as disk:
        disk.write(tables.boot_record(placed.start))
        disk.seek(start)
        disk.write(b"".join(placed.tables()))
        disk.seek(placed.kernel.first * BLOCK)
        disk.write(loaded)
    if ramdisk and placed.ramdisk:
        copy_range(Region(ramdisk, 0, length), Region(image, placed.ramdisk.first * BLOCK, length))
    return placed


def _file(tree: Path, path: str, what: str) -> Path:
    """A file of the tree by the path that the running machine knows it by."""
    file = inside(tree, path)
    if file is None or not file.is_file() or not file.stat().st_size:
        raise BuildError(
            f"zipl.conf names a {what} that is not in the image: {path}",
            where=f"/{config.FILE}",
            hint="let the element bootloader write it when all kernels are installed",
        )
    return file
