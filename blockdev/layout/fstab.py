"""The text of ``/etc/fstab`` and ``/etc/crypttab`` of a layout."""

from __future__ import annotations

from blockdev.core.errors import UsageError
from blockdev.layout.model import FileSystem, Layout

SWAP = "swap"


def fstab(layout: Layout) -> str:
    """One line for each mounted file system that has an fstab node, in the order of mounting (fstab(5))."""
    lines = []
    for system in layout.file_systems:
        if system.fstab is None:
            continue
        options, dump, passno = ("sw", 0, 0) if system.kind == SWAP else system.fstab
        point = "none" if system.kind == SWAP else system.point
        lines.append(f"{source(layout, system)} {_escaped(point)} {system.kind} {_escaped(options)} {dump} {passno}\n")
    return "".join(lines)


def crypttab(layout: Layout) -> str:
    """One line for each encrypted container (crypttab(5)); the passphrase is asked for when the machine starts."""
    return "".join(f"{_escaped(volume.name)} UUID={volume.uuid} none luks,initramfs\n" for volume in layout.luks)


def source(layout: Layout, system: FileSystem) -> str:
    """How fstab and a kernel's command line name a file system: by label; one that has none by its place."""
    if system.label:
        return f"LABEL={_escaped(system.label)}"
    storage = layout.storages[system.storage]
    if storage.kind == "partition":
        disk = layout.disk(storage.pieces[0].disk)
        slot = next(slot for slot in disk.slots if slot.name == storage.name)
        return f"PARTUUID={slot.uuid.lower() or f'{disk.id[2:]}-{slot.number:02x}'}"
    if storage.kind in {"logical", "luks"}:
        return f"/dev/mapper/{mapped(storage.base, storage.name) if storage.kind == 'logical' else storage.name}"
    raise UsageError(
        f"nothing names the file system {system.name!r}: a {system.kind} has no label and fills its disk",
        hint="put it on a partition",
    )


def mapped(group: str, volume: str) -> str:
    """What the device mapper calls a logical volume: hyphens in names are doubled."""
    return f"{group.replace('-', '--')}-{volume.replace('-', '--')}"


def _escaped(text: str) -> str:
    """A field of fstab: blanks and backslashes as octal numbers."""
    return "".join(f"\\{ord(letter):03o}" if letter in " \t\n\\" else letter for letter in text)
