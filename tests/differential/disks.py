"""Where everything of a disk lies: block-device configurations, in tree and graph form, with sizes in all forms."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from blockdev.configuration.read import read
from blockdev.core.errors import UsageError
from blockdev.layout.fstab import fstab
from blockdev.layout.model import FileSystem, Layout, LogicalPlan
from blockdev.layout.plan import plan
from builder.request.disk import _variables
from builder.request.disk_options import options_of
from builder.request.options import DiskOptions
from tests.differential.area import Area
from tests.differential.ask import Program
from tests.differential.compare import Answer, Example
from tests.differential.disk_reasons import REASONS, nodes

MIB = 1 << 20
GUIDS = {  # of the codes in the examples; sgdisk makes them of these
    "8300": "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
    "EF00": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
    "EF02": "21686148-6449-6E6F-744E-656564454649",
    "8200": "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F",
    "8E00": "E6D6D379-F507-44C2-A23C-238F2A3DF928",
}
SIZES = ["400MiB", "320 MiB", "350MB", "330M", "0.5GiB", "390000000", "370000000B", "327680KiB", "399999KB", "64MiB"]
SHARES = ["10%", "25%", "50%", "33.3%", "12.5%"]
POINTS = ["/boot", "/home", "/var", "/var/log", "/srv", "/boot/efi"]
TYPES = ["ext4", "ext4", "ext2", "ext3", "xfs", "vfat", "swap", "btrfs"]

_FSTAB = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {},
        optional={
            "options": st.sampled_from(["defaults", "noatime,errors=remount-ro"]),
            "dump-freq": st.sampled_from([0, 1]),
            "fsck-passno": st.sampled_from([0, 1, 2]),
        },
    ),
)


@st.composite
def file_systems(draw: st.DrawFn, point: str, name: str) -> dict[str, Any]:
    """The values of an mkfs node, with its mount and its line."""
    root = point == "/"
    made: dict[str, Any] = {}
    if root or draw(st.booleans()):
        made["name"] = "mkfs_root" if root else f"fs_{name}"
    if not root:
        made["type"] = draw(st.sampled_from(TYPES))
    elif draw(st.booleans()):
        made["type"] = draw(st.sampled_from(["ext4", "xfs", "ext3", "btrfs"]))
    if draw(st.integers(0, 2)) == 0:
        made["label"] = draw(st.sampled_from([f"l-{name}", f"UP{name}", f"label_of_{name}", f"longer-label-{name}"]))
    if draw(st.integers(0, 3)) == 0 and made.get("type", "") in {"ext2", "ext3", "ext4"}:
        made["opts"] = draw(st.sampled_from(["-m 0", "-i 16384  -m 1", "-O ^64bit"]))
    if draw(st.integers(0, 4)) == 0:
        made["uuid"] = "b733f302-0336-49c0-85f2-38ca109e8bd" + str(draw(st.integers(0, 9)))
    if point and not (made.get("type") == "swap" and draw(st.booleans())):
        mount: dict[str, Any] = {"mount_point": "swap" if made.get("type") == "swap" else point}
        line = draw(_FSTAB)
        if line is not None:
            mount["fstab"] = line
        made["mount"] = mount
    return made


@st.composite
def partitions(draw: st.DrawFn, label: str, number: int) -> list[dict[str, Any]]:
    """The partitions of one table, the root's among them; the last may take what is left."""
    points = draw(st.permutations(POINTS))[: number - 1]
    places = draw(st.permutations(["/", *points]))
    made = []
    for index, point in enumerate(places):
        name = draw(st.sampled_from([f"p{index}", f"part_{index}"])) if point != "/" else "root"
        part: dict[str, Any] = {"name": name}
        kind = draw(st.integers(0, 5))
        if index == number - 1 and kind:
            part["size"] = "100%"
        else:
            part["size"] = draw(st.sampled_from(SHARES if kind in (1, 2) else SIZES))
        if draw(st.booleans()):
            part["type"] = draw(st.sampled_from([*GUIDS] if label == "gpt" else ["0x83", "83", "0xEF", "82", "8e"]))
        flags = draw(st.sampled_from([[], [], ["boot"], ["primary"], ["boot", "primary"]]))
        if flags and label == "gpt":
            flags = draw(st.sampled_from([[], ["boot"]]))
        if flags:
            part["flags"] = flags
        if label == "gpt" and draw(st.integers(0, 7)) == 0 and point != "/":
            pass  # a partition without a file system
        else:
            part["mkfs"] = draw(file_systems(point, f"{index}"))
        made.append(part)
    return made


def flat(tree: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same configuration in graph form: each node an item of the list, with its base."""
    made: list[dict[str, Any]] = []

    def below(parent: str, node: Mapping[str, Any]) -> dict[str, Any]:
        kept = {}
        for key, value in node.items():
            if key in {"mkfs", "mount", "fstab", "partitioning"} and isinstance(value, dict):
                name = value.get("name", f"{key}_{parent}")
                inner = below(name, value)
                made.append({key: {**inner, "base": parent, "name": name}})
            elif key == "partitions":
                kept[key] = [below(part["name"], part) for part in value]
            else:
                kept[key] = value
        return kept

    for item in tree:
        for key, node in item.items():
            kept = below(node["name"], node)
            made.insert(0, {key: kept})
    return made


@st.composite
def volumes(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A partition that a volume group lies on, and the nodes of the group."""
    names = draw(st.sampled_from([["lv_root"], ["lv_root", "lv_var"], ["lv_root", "lv_var", "lv_home"]]))
    logical = []
    for index, name in enumerate(names):
        volume: dict[str, Any] = {"name": name, "base": "vg"}
        if draw(st.booleans()):
            volume["size"] = draw(st.sampled_from(SIZES))
        elif index == len(names) - 1:
            volume["extents"] = draw(st.sampled_from(["100%FREE", "50%FREE", "20"]))
        else:
            volume["extents"] = draw(st.sampled_from(["30%VG", "20", "25%VG"]))
        logical.append(volume)
    systems = []
    for name, point in zip(names, ["/", "/var", "/home"], strict=False):
        system = draw(file_systems(point, name[3:]))
        system.update({"base": name, "name": "mkfs_root" if point == "/" else f"mkfs_{name}"})
        systems.append({"mkfs": system})
    lvm = {
        "name": "lvm",
        "pvs": [{"name": "pv", "base": "root"}],
        "vgs": [{"name": "vg", "base": ["pv"]}],
        "lvs": logical,
    }
    return [{"name": "root", "size": "100%"}], [{"lvm": lvm}, *systems]


@st.composite
def examples(draw: st.DrawFn) -> Example:
    """A configuration, and what the driver says beside it."""
    disk: dict[str, Any] = {"name": "image0"}
    if draw(st.integers(0, 3)) == 0:
        disk["size"] = draw(st.sampled_from(["3GiB", "2500MB", "4000000256", "3 GB", "2.5GiB"]))
    more: list[dict[str, Any]] = []
    label = draw(st.sampled_from(["mbr", "gpt", ""]))
    if label:
        table: dict[str, Any] = {"label": label}
        if draw(st.integers(0, 4)) == 0:
            table["align"] = draw(st.sampled_from(["1MiB", "4MiB", "512KiB"]))
        if draw(st.integers(0, 3)) == 0:
            first = draw(partitions(label, 2))[:1] if draw(st.booleans()) else []
            first = [part for part in first if part["name"] != "root"]
            for part in first:
                part["size"] = draw(st.sampled_from(SIZES))
            group, more = draw(volumes())
            table["partitions"] = [*first, *group]
            taken = [part.get("mkfs", {}).get("mount", {}).get("mount_point") for part in first]
            for item in more:
                system = item.get("mkfs", {})
                if system.get("mount", {}).get("mount_point", "none") in taken:
                    system.pop("mount")
        else:
            table["partitions"] = draw(partitions(label, draw(st.integers(1, 5))))
        disk["partitioning"] = table
    else:
        disk["mkfs"] = draw(file_systems("/", "root"))
    tree = [{"local_loop": disk}, *more]
    text = yaml.safe_dump(flat(tree) if not more and draw(st.integers(0, 3)) == 0 else tree, sort_keys=False)
    return {
        "text": text,
        "size": draw(st.sampled_from([4 << 20, 5 << 20, 3500032])),  # KiB, as the driver gives it
        "type": draw(st.sampled_from(["ext4", "ext4", "xfs"])),
        "label": draw(st.sampled_from(["", "", "rootfs"])),
        "environment": draw(st.sampled_from([{}, {}, {}, {"DIB_BLOCK_SIZE": "4096"}, {"DIB_BLOCK_SIZE": "512"}])),
    }


def both(example: Example, program: Program, folder: Path) -> tuple[Answer, Answer]:
    """What the two say."""
    params = {
        "root-fs-type": example["type"],
        "root-label": example["label"] or None,
        "image-size": f"{example['size']}KiB",
    }
    if root_type(example) == "ext4":  # as disk-image-create says it
        params["root-fs-opts"] = "-i 4096 -J size=64 "
    theirs = program.ask(
        "disk",
        work=str(folder),
        text=example["text"],
        params=yaml.safe_dump(params),
        environment=example["environment"],
    )
    return _given_ids(_read(theirs), example["text"]), _given_ids(_ours(example), example["text"])


def _given_ids(answer: Answer, text: str) -> Answer:
    """The answer without the UUIDs that nobody gave: the one draws them by lot, the other derives them."""
    for system in answer.get("systems", []):
        system[-1] = system[-1] if system[-1] in text else ""
    return answer


def root_type(example: Example) -> str:
    """The type of the root file system."""
    found = re.search(r"mkfs_root\b", example["text"])
    for node in nodes(yaml.safe_load(example["text"]), "mkfs"):
        if node.get("name") == "mkfs_root" and "type" in node:
            return str(node["type"])
    return str(example["type"]) if found else ""


def _read(theirs: Answer) -> Answer:
    """diskimage-builder's commands as what they make."""
    if "refused" in theirs:
        return theirs
    devices = {device: name for name, device in theirs["devices"].items()}
    slots: dict[str, list[list[Any]]] = {}
    systems, groups = [], []
    for disk, records in theirs["mbr"].items():
        slots[disk] = [
            [number, f"{kind:02x}", start, size, flag] for number, flag, kind, start, size in records if records
        ]
    for command in theirs["commands"]:
        match command:
            case ["sgdisk", device, *words]:
                slots[devices[device]] = _gpt(words)
            case ["mkfs" | "mkswap", *_]:
                systems.append(_made(command, devices))
            case ["vgcreate", name, *on]:
                groups.append([name, [devices[device] for device in on], []])
            case ["lvcreate", *words]:
                groups[-1][2].append(_volume(words))
    sectors = [command[2] for command in theirs["commands"] if command[0] == "losetup" and "--show" in command]
    return {
        "disks": {name: [theirs["sizes"][name], sector] for name, sector in zip(theirs["sizes"], sectors, strict=True)},
        "slots": {disk: sorted(one) for disk, one in slots.items() if one},
        "systems": sorted(systems),
        "groups": groups,
        "fstab": theirs["fstab"],
        "values": theirs["values"],
    }


def _gpt(words: list[str]) -> list[list[Any]]:
    made, start = [], MIB
    for new, kind, name in zip(words[1::6], words[3::6], words[5::6], strict=True):
        number, _, size = new.split(":")
        length = int(size.removeprefix("+").removesuffix("M")) * MIB
        code = kind.partition(":")[2]
        made.append([int(number), GUIDS.get(code.upper(), code), start, length, name.partition(":")[2]])
        start += length
    return made


def _made(command: list[str], devices: Mapping[str, str]) -> list[Any]:
    words = command[1:-1]
    kind = "swap"
    if command[0] == "mkfs":
        kind, words = words[1], words[2:]
    label = uuid = ""
    options = []
    for word in (rest := iter(words)):
        if word in {"-n", "-L"}:
            label = next(rest)
        elif word == "-U":
            uuid = next(rest)
        elif word == "-m" and kind == "xfs":
            uuid = next(rest).removeprefix("uuid=")
        elif word != "-q" and word:
            options.append(word)
    return [devices[command[-1]], kind, label, options, uuid]


def _volume(words: list[str]) -> list[Any]:
    named = dict(zip(words[:-1:2], words[1:-1:2], strict=True))
    size = int(named["-L"].removesuffix("B")) if "-L" in named else None
    return [named["--name"], size, named.get("-l", "")]


def _ours(example: Example) -> Answer:
    variables = {
        "DIB_IMAGE_SIZE": str(example["size"] / MIB),
        "FS_TYPE": example["type"],
        "ROOT_LABEL": example["label"],
        **example["environment"],
    }
    try:
        configuration = read(example["text"], "example")
        layout = plan(configuration, options_of(DiskOptions(), variables, {}, "seed"), 0)
    except UsageError as error:
        return {"refused": str(error)}
    values = _variables(layout)
    return {
        "disks": {disk.name: [disk.size, str(disk.sector)] for disk in layout.disks},
        "slots": {
            disk.name: sorted(
                [slot.number, slot.type, slot.start, slot.length, slot.bootable if disk.table == "mbr" else slot.label]
                for slot in disk.slots
            )
            for disk in layout.disks
            if disk.slots
        },
        "systems": sorted(_system(layout, system) for system in layout.file_systems),
        "groups": [
            [group.name, [on for _, on in group.physical], [_planned(layout, one) for one in group.logical]]
            for group in layout.groups
        ],
        "fstab": fstab(layout),
        "values": {
            "root-label": values["DIB_ROOT_LABEL"],
            "root-fstype": values["DIB_ROOT_FSTYPE"],
            "boot-label": values["DIB_BOOT_LABEL"],
            "mount-points": values["DIB_MOUNTPOINTS"],
        },
    }


def _planned(layout: Layout, one: LogicalPlan) -> list[Any]:
    return [one.name, layout.storages[one.name].size if one.size is not None else None, one.extents]


def _system(layout: Layout, system: FileSystem) -> list[Any]:
    return [system.storage, system.kind, system.label, list(system.options), system.uuid]


AREA = Area("disks", 20, examples(), both, REASONS)
