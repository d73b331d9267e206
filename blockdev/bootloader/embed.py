"""Which boot loader of a tree goes to which place of a layout: partitions made for one, or the gap behind an MBR."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from blockdev.bootloader import grub
from blockdev.bootloader.zipl import write
from blockdev.configuration import types
from blockdev.configuration.sizes import shown
from blockdev.core.errors import UsageError
from blockdev.core.units import SECTOR
from blockdev.layout.model import DiskLayout, Layout, Slot


def embed_loaders(layout: Layout, tree: Path, images: Mapping[str, Path]) -> tuple[str, ...]:
    """Put a tree's boot loaders on the disk images (by name) where firmware looks; returns what is worth a line."""
    files = grub.find(tree)
    for disk in layout.disks:
        prep = [slot for slot in disk.slots if slot.type in {types.PREP, types.MBR_PREP}]
        if prep and files.prep:
            grub.embed_prep(images[disk.name], files.prep.read_bytes(), prep[0].start, prep[0].length)
    remarks = _embed_zipl(layout, tree, images) if files.zipl else ()
    return remarks + _embed_bios(layout, files, images)


def _embed_bios(layout: Layout, files: grub.LoaderFiles, images: Mapping[str, Path]) -> tuple[str, ...]:
    if files.bios is None:
        return ()
    disk = _boot_disk(layout)
    boot, core = (path.read_bytes() for path in files.bios)
    start, room = place_for_core(disk)
    if not room or disk.sector != SECTOR:
        why = "a GPT needs a partition of type EF02" if disk.table == "gpt" else "it has no partitions"
        if disk.sector != SECTOR:
            why = f"no BIOS starts from sectors of {disk.sector} bytes"
        return (f"the disk {disk.name!r} boots by UEFI only: there is no place for GRUB's BIOS part ({why})",)
    grub.embed_bios(images[disk.name], boot, core, start=start, room=room, sector_size=disk.sector)
    return ()


def _embed_zipl(layout: Layout, tree: Path, images: Mapping[str, Path]) -> tuple[str, ...]:
    home = place_for_zipl(layout)
    if home is None:
        return ()
    disk, slot = home
    placed = write.embed(images[disk.name], tree, slot.start, slot.length)
    return (f"zIPL on {slot.name}: {shown(placed.takes)} of {shown(slot.length)}",)


def place_for_zipl(layout: Layout) -> tuple[DiskLayout, Slot] | None:
    """The partition for what s390x firmware loads, and its disk; None where there is none.

    In a GPT it has a type of its own; in an MBR it is the first one of type DA that nothing else lies on.
    """
    taken = {system.storage for system in layout.file_systems} | {volume.on for volume in layout.luks}
    taken |= {on for group in layout.groups for _, on in group.physical}
    taken |= {name for volume in layout.verity for name in (volume.on, volume.hashes)}
    for disk in layout.disks:
        for slot in disk.slots:
            if slot.type in {types.ZIPL, types.MBR_ZIPL} and slot.name not in taken:
                return disk, slot
    return None


def check_zipl(layout: Layout) -> None:
    """Refuse a layout that no s390x firmware starts; UsageError says what it lacks."""
    home = place_for_zipl(layout)
    if home is None:
        raise UsageError(
            "an s390x disk starts from a partition for kernel and ram disk, and the layout has none",
            hint="use block-device-mbr or block-device-gpt; in a layout of your own add one of 128 MiB with the type"
            f" {types.ZIPL} (mbr: '0xDA'), without mkfs",
        )
    disk, slot = home
    if disk.sector != SECTOR:
        raise UsageError(
            f"an s390x disk starts from sectors of {SECTOR} bytes, and {disk.name!r} has {disk.sector}",
            where=f"the partition {slot.name!r}",
            hint="leave DIB_BLOCK_SIZE and block_size out",
        )


def _boot_disk(layout: Layout) -> DiskLayout:
    """The disk whose first sector a BIOS loads: the one with the place for its loader, else that of the root."""
    for disk in layout.disks:
        if any(slot.type == types.BIOS_BOOT for slot in disk.slots):
            return disk
    return layout.disks[0]


def place_for_core(disk: DiskLayout) -> tuple[int, int]:
    """Where GRUB's core image goes on a disk, and its room there: (byte, bytes); (0, 0) where there is none.

    With a GPT a partition for it, with an MBR the gap before the first partition.
    """
    for slot in disk.slots:
        if slot.type == types.BIOS_BOOT:
            return slot.start, slot.length
    if disk.table == "mbr" and disk.slots:
        return 512, min(slot.start for slot in disk.slots) - 512
    return 0, 0
