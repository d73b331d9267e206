"""The script that makes sfdisk write a disk's partition table just as it was laid out."""

from __future__ import annotations

from blockdev.layout.model import DiskLayout, Slot


def script(disk: DiskLayout) -> str:
    """sfdisk's input (sfdisk(8), "Named-fields format") for a disk with a table; sizes and starts are in sectors."""
    lines = [f"label: {'dos' if disk.table == 'mbr' else 'gpt'}", f"label-id: {disk.id}", "unit: sectors"]
    if disk.table == "gpt":
        # Without it the first usable sector would be what sfdisk thinks is a good one.
        lines += [f"first-lba: {(1 << 20) // disk.sector}", "table-length: 128"]
    lines += [f"sector-size: {disk.sector}", ""]
    return "\n".join([*lines, *(_line(slot, disk) for slot in disk.slots)]) + "\n"


def _line(slot: Slot, disk: DiskLayout) -> str:
    fields = [f"start={slot.start // disk.sector}", f"size={slot.length // disk.sector}", f"type={slot.type}"]
    if slot.uuid:
        fields.append(f"uuid={slot.uuid}")
    if slot.label:
        fields.append(f'name="{_quoted(slot.label)}"')
    if slot.bootable:
        fields.append("bootable")
    return f"{slot.number} : {', '.join(fields)}"


def _quoted(text: str) -> str:
    """A text between sfdisk's quotes; it reads ``\\x22`` as a quote of the text itself."""
    return "".join(f"\\x{ord(one):02x}" if one in '"\\' or ord(one) < 32 else one for one in text)
