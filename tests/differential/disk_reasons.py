"""Why the two may lay out a disk differently (``disks.py``)."""

from __future__ import annotations

import re
from typing import Any

import yaml

from blockdev.configuration.sizes import parse_bytes
from blockdev.layout.least import least
from tests.differential.compare import REFUSED, UNFORETOLD, Answer, Example


def nodes(data: Any, kind: str) -> list[dict[str, Any]]:
    """The values of all nodes of a kind."""
    found = []
    if isinstance(data, dict):
        for key, value in data.items():
            if key == kind and isinstance(value, dict):
                found.append(value)
            found += nodes(value, kind)
    elif isinstance(data, list):
        for item in data:
            found += nodes(item, kind)
    return found


def uuid_written(example: Example, theirs: Answer) -> Answer | None:
    """diskimage-builder warns that it writes no UUID of such a file system; here it is written."""
    if "uuid: " not in example["text"] or "systems" not in theirs:
        return None
    kinds = {"btrfs", "vfat"}
    systems = [
        [*one[:4], _uuid_of(example, one[0])] if one[1] in kinds and not one[4] else one for one in theirs["systems"]
    ]
    return {**theirs, "systems": sorted(systems)}


def _uuid_of(example: Example, storage: str) -> str:
    """The UUID that the configuration gives the file system on a storage."""

    def found(data: Any, base: str) -> str:
        for key, value in data.items():
            if key == "mkfs" and value.get("base", base) == storage:
                return str(value.get("uuid", ""))
            inner = value if isinstance(value, list) else [value]
            for item in inner:
                if isinstance(item, dict) and (uuid := found(item, item.get("name", base))):
                    return uuid
        return ""

    return next((uuid for item in yaml.safe_load(example["text"]) if (uuid := found(item, ""))), "")


def no_whole_sectors(example: Example, theirs: Answer) -> Answer | None:
    """A disk that is no multiple of 512 bytes."""
    sizes = [str(node.get("size", "0")) for node in nodes(yaml.safe_load(example["text"]), "local_loop")]
    return REFUSED if any(parse_bytes(size) % 512 for size in sizes) else None


def mbr_of_4096(example: Example, theirs: Answer) -> Answer | None:
    """diskimage-builder writes an MBR that counts in 512 bytes onto a disk that counts in 4096."""
    large = example["environment"].get("DIB_BLOCK_SIZE") == "4096"
    return REFUSED if large and "label: mbr" in example["text"] else None


def boot_label_of_vfat(example: Example, theirs: Answer) -> Answer | None:
    """Labels of FAT are written in capitals; diskimage-builder tells scripts the label as it was before."""
    if "values" not in theirs:
        return None
    labels = [system[2] for system in theirs["systems"] if system[1] == "vfat"]
    values = theirs["values"]
    upper = values["boot-label"].upper()
    return {**theirs, "values": {**values, "boot-label": upper}} if upper in labels else None


def same_uuid(example: Example, theirs: Answer) -> Answer | None:
    """Two file systems of one UUID."""
    uuids = re.findall(r"uuid: (\S+)", example["text"])
    return REFUSED if len(set(uuids)) < len(uuids) else None


def one_swap(example: Example, theirs: Answer) -> Answer | None:
    """Swap areas of one mount point."""
    return UNFORETOLD if "refused" in theirs and example["text"].count("type: swap") > 1 else None


def too_small(example: Example, theirs: Answer) -> Answer | None:
    """A file system that lies in less than its mkfs takes."""
    if "systems" not in theirs:
        return None
    rooms = {name: size for name, (size, _) in theirs["disks"].items()}
    names = [
        part["name"] for node in nodes(yaml.safe_load(example["text"]), "partitioning") for part in node["partitions"]
    ]
    slots = sorted(
        (slot for slot in next(iter(theirs["slots"].values()), []) if slot[1] != "0f"), key=lambda slot: slot[2]
    )
    rooms.update({name: slot[3] for name, slot in zip(names, slots, strict=False)})
    rooms.update({name: size for _, _, volumes in theirs["groups"] for name, size, _ in volumes if size})
    small = [kind for on, kind, _, options, _ in theirs["systems"] if rooms.get(on, 0) < least(kind, options).size]
    return REFUSED if small else None


def long_uuid_of_vfat(example: Example, theirs: Answer) -> Answer | None:
    """A FAT has a number of eight digits; diskimage-builder warns that it does not write the UUID."""
    found = nodes(yaml.safe_load(example["text"]), "mkfs")
    return REFUSED if any(node.get("type") == "vfat" and "uuid" in node for node in found) else None


REASONS = {
    "uuid-written": uuid_written,
    "no-whole-sectors": no_whole_sectors,
    "mbr-of-4096": mbr_of_4096,
    "same-uuid": same_uuid,
    "too-small": too_small,
    "one-swap": one_swap,
    "long-uuid-of-vfat": long_uuid_of_vfat,
    "boot-label-of-vfat": boot_label_of_vfat,
}
