"""What is wrong with the nodes of a configuration, before any size is known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from blockdev.configuration import labels, types
from blockdev.configuration.nodes import (
    Configuration,
    Disk,
    Fstab,
    Group,
    Logical,
    Luks,
    MakeFs,
    Mount,
    Node,
    Partition,
    Physical,
    Table,
    Verity,
)
from blockdev.core.errors import UsageError
from blockdev.core.suggest import nearest

_WORDS: dict[type[Node], str] = {
    Disk: "local_loop",
    Table: "partitioning",
    Partition: "partition",
    Physical: "pv",
    Group: "vg",
    Logical: "lv",
    Luks: "luks",
    Verity: "verity",
    MakeFs: "mkfs",
    Mount: "mount",
    Fstab: "fstab",
}
_STORAGE = (Disk, Partition, Logical, Luks)
_ON: dict[type[Node], tuple[type[Node], ...]] = {
    Table: (Disk,),
    Partition: (Disk,),
    Physical: (Disk, Partition, Luks),
    Group: (Physical,),
    Logical: (Group, Logical),
    Luks: (Disk, Partition, Logical),
    Verity: (Partition, Logical, MakeFs),
    MakeFs: _STORAGE,
    Mount: (MakeFs,),
    Fstab: (Mount,),
}
PRIMARIES = 4


def word(node: Node) -> str:
    """What a configuration calls a node of this kind."""
    return _WORDS[type(node)]


def title(node: Node) -> str:
    """A node as messages name it."""
    return f"{word(node)} {node.name!r}"


def refuse(node: Node, what: str, hint: str = "", key: str = "") -> NoReturn:
    """Refuse a node, where one of its keys is wrong at the line of this."""
    raise UsageError(f"{title(node)}: {what}", where=node.where.of(key), hint=hint)


def check(configuration: Configuration) -> None:
    """Raise UsageError for the first thing that is wrong: names, bases, cycles, tables, labels, mount points."""
    nodes = configuration.nodes
    _names(nodes)
    _bases(configuration)
    _cycles(configuration)
    _one_user_each(nodes)
    for table in configuration.of(Table):
        _table(table)
    _identifiers(configuration)
    _subvolumes(configuration)
    _mounts(configuration)


def _names(nodes: Iterable[Node]) -> None:
    seen: dict[str, Node] = {}
    for node in nodes:
        if node.name in seen:
            refuse(
                node,
                f"the name is taken by the {word(seen[node.name])} at {seen[node.name].where}",
                "rename one",
                "name",
            )
        seen[node.name] = node


def _bases(configuration: Configuration) -> None:
    nodes = {node.name: node for node in configuration.nodes}
    for node in configuration.nodes:
        for index, base in enumerate(node.bases):
            allowed = _ON[type(node)]
            if isinstance(node, Verity) and index:
                allowed = (Partition, Logical)
            if isinstance(node, Logical):
                allowed = (Logical,) if index else (Group,)
            expected = f"expected: the name of a {' or '.join(_WORDS[kind] for kind in allowed)}"
            if base not in nodes:
                fitting = [other.name for other in configuration.nodes if isinstance(other, allowed) and other != node]
                refuse(node, f"its base {base!r} is not there", nearest(base, fitting) or expected, "base")
            if not isinstance(nodes[base], allowed):
                refuse(node, f"its base {base!r} is a {word(nodes[base])}", expected, "base")


def _cycles(configuration: Configuration) -> None:
    nodes = {node.name: node for node in configuration.nodes}
    done: set[str] = set()

    def visit(node: Node, path: tuple[str, ...]) -> None:
        if node.name in path:
            circle = " -> ".join((*path[path.index(node.name) :], node.name))
            refuse(node, f"it is built on itself: {circle}", "give one of them another base", "base")
        if node.name in done:
            return
        for base in node.bases:
            visit(nodes[base], (*path, node.name))
        done.add(node.name)

    for node in configuration.nodes:
        visit(node, ())


def _one_user_each(nodes: Iterable[Node]) -> None:
    """No two things on one piece of storage."""
    taken: dict[str, Node] = {}
    for node in nodes:
        if isinstance(node, Table | Physical | Luks | MakeFs):
            places = [node.base]
        elif isinstance(node, Verity):
            places = [node.hashes]
        else:
            continue
        for base in places:
            if base in taken:
                refuse(
                    node, f"its base {base!r} is in use by {title(taken[base])}", "give it a base of its own", "base"
                )
            taken[base] = node


def _table(table: Table) -> None:
    convert = types.of_gpt if table.label == "gpt" else types.of_mbr
    for partition in table.partitions:
        try:
            convert(partition.type)
        except ValueError:
            gpt = table.label == "gpt"
            expected = types.expected_of_gpt(partition.type) if gpt else "two hexadecimal digits, such as 83"
            refuse(partition, f"its type is {partition.type!r}", f"expected: {expected}", "type")
        if partition.uuid and (table.label == "mbr" or not labels.is_uuid(partition.uuid)):
            expected = "a UUID" if table.label == "gpt" else "none: partitions of an mbr have no UUID"
            refuse(partition, f"its uuid is {partition.uuid!r}", f"expected: {expected}", "uuid")
        if partition.label and (table.label == "mbr" or len(partition.label.encode("utf-16-le")) > 72):
            expected = "36 characters at most" if table.label == "gpt" else "none: partitions of an mbr have no label"
            refuse(partition, f"its label is {partition.label!r}", f"expected: {expected}", "label")
    if table.label == "mbr":
        _mbr(table)


def _mbr(table: Table) -> None:
    logical: Partition | None = None
    primaries = 0
    for partition in table.partitions:
        if not partition.primary:
            logical = logical or partition
            continue
        if logical:
            refuse(
                partition,
                f"it is primary and comes after the logical one {logical.name!r}",
                "put all primary partitions first",
            )
        primaries += 1
        if primaries > PRIMARIES:
            refuse(partition, f"it is primary number {primaries}", f"expected: {PRIMARIES} at most; leave out primary")
    if logical and primaries == PRIMARIES:
        refuse(
            logical,
            f"it is logical, and {PRIMARIES} primary partitions leave no place for the extended one",
            "make one of them logical, too",
        )


def _identifiers(configuration: Configuration) -> None:
    """Labels and UUIDs: of the right form, and no two the same."""
    taken: dict[str, Node] = {}
    for node in configuration.nodes:
        if not isinstance(node, MakeFs | Luks):
            continue
        kind = node.type if isinstance(node, MakeFs) else "luks"
        if isinstance(node, MakeFs):
            label = node.label or ("" if node.name == "mkfs_root" or kind == "squashfs" else node.name)
            if kind and (why := labels.refused(kind, label)):
                hint = (
                    "give a shorter one with the key label" if not node.label else "expected: a shorter or plainer one"
                )
                refuse(node, why, hint, "label")
            label = labels.written(kind, label)
        else:
            label = node.label
        if label and label in taken:
            other = taken[label]
            refuse(node, f"the label {label!r} is taken by {title(other)} at {other.where}", "rename one", "label")
        if label:
            taken[label] = node
        if node.uuid:
            if not labels.is_uuid(node.uuid, kind):
                expected = "eight hexadecimal digits, such as ABCD-1234" if kind in labels.FAT else "a UUID"
                refuse(node, f"its uuid is {node.uuid!r}", f"expected: {expected}", "uuid")
            same = node.uuid.lower()
            if same in taken:
                refuse(
                    node,
                    f"the uuid {node.uuid!r} is taken by {title(taken[same])} at {taken[same].where}",
                    "rename one",
                    "uuid",
                )
            taken[same] = node


def _subvolumes(configuration: Configuration) -> None:
    for node in configuration.of(MakeFs):
        if not node.subvolumes:
            continue
        if node.type != "btrfs":
            refuse(
                node,
                f"it has subvolumes and is {node.type or 'of the default type'}",
                "expected: type: btrfs",
                "subvolumes",
            )
        paths = [subvolume.path for subvolume in node.subvolumes]
        for path in paths:
            if paths.count(path) > 1:
                refuse(node, f"the subvolume {path!r} is there twice", "leave one out", "subvolumes")
            if not path or ".." in path.split("/"):
                refuse(node, f"the path of a subvolume is {path!r}", "expected: a folder of the tree, such as /home")
        if sum(subvolume.kind.startswith("default") for subvolume in node.subvolumes) > 1:
            refuse(node, "more than one subvolume is the default", "leave default to one of them")


def _mounts(configuration: Configuration) -> None:
    points: dict[str, Mount] = {}
    systems: dict[str, Mount] = {}
    swaps = {node.name for node in configuration.of(MakeFs) if node.type == "swap"}
    for mount in configuration.of(Mount):
        if mount.base in systems:
            refuse(mount, f"{mount.base!r} is mounted by {title(systems[mount.base])} already", "leave one out")
        systems[mount.base] = mount
        if mount.base in swaps:
            continue  # (its mount point means nothing)
        point = mount.point
        if not point.startswith("/") or ".." in point.split("/") or any(part in {"", "."} for part in _parts(point)):
            refuse(mount, f"its mount_point is {point!r}", "expected: an absolute path such as /boot", "mount_point")
        plain = point.rstrip("/") or "/"
        if plain in points:
            other = points[plain]
            refuse(
                mount,
                f"{plain} is the mount point of {title(other)} at {other.where}",
                "give one another place",
                "mount_point",
            )
        points[plain] = mount
    if "/" not in points:
        raise UsageError(
            "no file system is mounted on /",
            where=configuration.file,
            hint="expected: a mkfs with mount: {mount_point: /}",
        )
    lines: dict[str, Fstab] = {}
    for line in configuration.of(Fstab):
        if line.base in lines:
            refuse(line, f"{line.base!r} has the fstab node {lines[line.base].name!r} already", "leave one out")
        lines[line.base] = line


def _parts(point: str) -> list[str]:
    """The parts of an absolute path, a slash at the end aside."""
    return point.rstrip("/").split("/")[1:]
