"""From a checked configuration, the options and the size of the tree to a layout: nothing is read, nothing is drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from blockdev.configuration import labels
from blockdev.configuration.check import check, refuse, title
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
from blockdev.configuration.read import STRICT
from blockdev.configuration.sizes import shown
from blockdev.core.derived_ids import file_system_id, guid, mbr_id
from blockdev.core.errors import UsageError
from blockdev.core.units import SECTOR
from blockdev.layout import partitions, volumes
from blockdev.layout.fstab import SWAP
from blockdev.layout.least import is_too_small_a_journal, journal_size
from blockdev.layout.least import least as least_of
from blockdev.layout.model import (
    LUKS_HEADER,
    DiskLayout,
    FileSystem,
    GroupPlan,
    Layout,
    LogicalPlan,
    LuksPlan,
    Piece,
    Storage,
    VerityPlan,
)
from blockdev.layout.options import ROOT_NODE, Options

_ROUND = 64 << 10  # diskimage-builder's images are multiples of it where no configuration says their size
_ROUND_COMPUTED = 1 << 20  # of which every format of a disk makes the same size
_LEAST = 1 << 20
_GROWTHS = 200


def with_options(configuration: Configuration, options: Options) -> Configuration:
    """The configuration with what the options say of the root file system filled in where it says nothing."""
    nodes: list[Node] = []
    roots = {ROOT_NODE}
    if configuration.version >= STRICT:
        roots = {mount.base for mount in configuration.of(Mount) if mount.point == "/"}
    for node in configuration.nodes:
        if isinstance(node, MakeFs):
            nodes.append(_file_system(node, options, root=node.name in roots))
        elif isinstance(node, Disk):
            sector = options.block_size or node.block_size
            if node.size and node.size % SECTOR:
                refuse(
                    node,
                    f"its size is {node.size} bytes, no whole number of sectors of {SECTOR} bytes",
                    f"{node.size // SECTOR * SECTOR} are",
                    "size",
                )
            asked = partitions.up(options.size, _ROUND) if options.size else None
            nodes.append(dataclasses.replace(node, block_size=sector, size=node.size or asked))
        else:
            nodes.append(node)
    return dataclasses.replace(configuration, nodes=tuple(nodes))


def _file_system(node: MakeFs, options: Options, *, root: bool) -> MakeFs:
    kind = node.type or (options.root_type if root else "")
    if not kind:
        refuse(node, "the key 'type' is missing", "expected: a file system such as ext4 or vfat")
    if not labels.LONGEST.get(kind, 1):
        label = node.label
    elif root and not node.label:
        label = dataclasses.replace(options, root_type=kind).label
    else:
        label = node.label or node.name
    mkfs_options = node.options
    if root and mkfs_options is None:
        mkfs_options = dataclasses.replace(options, root_type=kind).mkfs
    return dataclasses.replace(
        node,
        type=kind,
        label=labels.written(kind, label),
        options=mkfs_options or (),
        uuid=node.uuid or file_system_id(options.seed, kind, node.name, fat=kind in labels.FAT),
    )


def plan(configuration: Configuration, options: Options, tree: int, least: int = 0) -> Layout:
    """The layout of an image whose tree takes ``tree`` bytes of files and needs ``least`` bytes of file system.

    A disk without a size becomes as large as its fixed parts and the root file system need. Raises UsageError: the
    configuration is wrong (see ``blockdev.configuration.check``), or something does not fit.
    """
    filled = with_options(configuration, options)
    check(filled)
    root_node = next(node for node in filled.of(MakeFs) if node.name == _root_of(filled))
    need = max(options.root_needs(tree), least, least_of(root_node.type, root_node.options or ()).size)
    sizes = {disk.name: disk.size or _fixed(filled, disk) for disk in filled.of(Disk)}
    computed = {disk.name for disk in filled.of(Disk) if not disk.size}
    for _ in range(_GROWTHS):
        layout = _lay_out(filled, sizes, options.seed, lenient=bool(computed))
        growing = _short(filled, layout, need, computed)
        if not growing:
            break
        for name, missing in growing.items():
            sizes[name] += partitions.up(missing, _ROUND_COMPUTED)
    layout = _lay_out(filled, sizes, options.seed, lenient=False)
    root = layout.root
    if layout.storages[root.storage].size < max(least, tree):
        room, needed = layout.storages[root.storage].size, max(least, tree)
        refuse(
            filled.find(root.name),
            f"the tree needs a root file system of {shown(needed)} at least, and this one has {shown(room)}",
            "make the image (--image-size) or what it lies on larger",
        )
    _check_least(filled, layout, computed if not tree else set())
    return layout


def _root_of(configuration: Configuration) -> str:
    """The name of the file system on ``/``."""
    return next(mount.base for mount in configuration.of(Mount) if mount.point.rstrip("/") == "")


def _check_least(configuration: Configuration, layout: Layout, growing: set[str]) -> None:
    """UsageError for a file system that its mkfs would refuse to make so small.

    What has no size of its own is let alone on ``growing`` disks, which become larger with the tree.
    """
    for system in layout.file_systems:
        needed, node = least_of(system.kind, system.options), configuration.find(system.name)
        if is_too_small_a_journal(system.kind, system.options):
            refuse(node, f"its journal has {journal_size(system.options)} MiB", "expected: 4 MiB at least")
        room = layout.storages[system.storage].size
        if room < needed.size and not _may_grow(configuration, layout, system.storage, growing):
            refuse(
                node,
                f"{system.kind} needs {shown(needed.size)} at least ({needed.why}), and this one has {shown(room)}",
                "make what it lies on larger (--image-size), or "
                + ("the journal smaller: --mkfs-journal-size" if needed.journal else "choose another type"),
            )


def _may_grow(configuration: Configuration, layout: Layout, storage: str, growing: set[str]) -> bool:
    """Does the storage become larger where its disk, one of ``growing``, does."""
    base = layout.storages[storage]
    if base.kind == "disk":
        return base.name in growing
    node = configuration.find(storage)
    if isinstance(node, Partition):
        return base.base in growing and node.size.bytes is None
    if isinstance(node, Logical):
        return node.size is None and bool(_disks_below(layout, storage) & growing)
    return _may_grow(configuration, layout, base.base, growing)


def _fixed(configuration: Configuration, disk: Disk) -> int:
    """Bytes of a disk that hold its partitions of a fixed size, and a little for each of the others."""
    tables = [table for table in configuration.of(Table) if table.base == disk.name]
    total = 2 << 20
    for table in tables:
        unit = max(table.align, 1 << 20)
        for partition in table.partitions:
            # (a percentage, unless it is a tiny one, is to come to something, and the disk grows from there)
            least = int(_LEAST * 100 / max(partition.size.percent or 100, 0.1))
            total += partitions.up(partition.size.bytes or least, unit) + (0 if partition.primary else table.align)
        total += 2 * unit
    return partitions.up(total, _ROUND_COMPUTED)


def _short(configuration: Configuration, layout: Layout, need: int, computed: set[str]) -> Mapping[str, int]:
    """By how many bytes which disk must grow until the root file system has what it needs."""
    root = layout.root
    missing = need - layout.storages[root.storage].size
    if missing <= 0:
        return {}
    elastic = {
        disk for disk in _disks_below(layout, root.storage) if disk in computed and _grows(configuration, layout, disk)
    }
    return dict.fromkeys(elastic, missing)


def _disks_below(layout: Layout, storage: str) -> set[str]:
    """The disks that a storage lies on, or would lie on if it had room."""
    upper = layout.storages[storage]
    if upper.kind == "disk":
        return {upper.name}
    if upper.kind == "logical":
        group = next(group for group in layout.groups if group.name == upper.base)
        return set().union(*(_disks_below(layout, on) for _, on in group.physical))
    return _disks_below(layout, upper.base)


def _grows(configuration: Configuration, layout: Layout, disk: str) -> bool:
    """Does what the root file system lies on grow with its disk: is one partition below it no fixed size."""
    tables = [table for table in configuration.of(Table) if table.base == disk]
    if not tables:
        return True
    below = _partitions_below(layout, layout.root.storage)
    return any(part.size.bytes is None for table in tables for part in table.partitions if part.name in below)


def _partitions_below(layout: Layout, storage: str) -> set[str]:
    upper = layout.storages[storage]
    if upper.kind == "partition":
        return {upper.name}
    if upper.kind == "logical":
        group = next(group for group in layout.groups if group.name == upper.base)
        return set().union(*(_partitions_below(layout, on) for _, on in group.physical))
    return _partitions_below(layout, upper.base) if upper.kind == "luks" else set()


def _lay_out(configuration: Configuration, sizes: Mapping[str, int], seed: str, *, lenient: bool) -> Layout:
    """The layout for disks of these sizes; ``lenient`` lets logical volumes be larger than what there is for now."""
    storages: dict[str, Storage] = {}
    disks = []
    for disk in configuration.of(Disk):
        laid_out = _disk(configuration, disk, sizes[disk.name], seed)
        disks.append(laid_out)
        storages[disk.name] = Storage(disk.name, "disk", "", laid_out.size, (Piece(disk.name, 0, laid_out.size),))
        for slot in laid_out.slots:
            if slot.name:
                pieces = (Piece(disk.name, slot.start, slot.length),)
                storages[slot.name] = Storage(slot.name, "partition", disk.name, slot.length, pieces)
    groups: list[GroupPlan] = []
    pending: list[Luks | Group] = [*configuration.of(Luks), *configuration.of(Group)]
    while pending:
        ready = [node for node in pending if _on(configuration, node) <= storages.keys()]
        if not ready:
            _nothing_below(configuration, pending[0], storages)
        for node in ready:
            pending.remove(node)
            if isinstance(node, Luks):
                storages[node.name] = _opened(node, storages[node.base])
            else:
                group = _group(configuration, node)
                groups.append(group)
                storages.update(volumes.storages(group, storages, seed, node, lenient=lenient))
    return Layout(
        disks=tuple(disks),
        storages=storages,
        file_systems=_file_systems(configuration),
        groups=tuple(groups),
        luks=tuple(
            LuksPlan(
                node.name,
                node.base,
                node.label,
                node.uuid or guid(seed, "luks", node.name).lower(),
                node.key_file,
                node.key_variable,
                node.cipher,
                node.pbkdf,
            )
            for node in configuration.of(Luks)
        ),
        verity=tuple(
            VerityPlan(node.name, _data(configuration, node), node.hashes) for node in configuration.of(Verity)
        ),
        remarks=configuration.remarks,
        mount_points=tuple(mount.point for mount in configuration.of(Mount)),
    )


def _disk(configuration: Configuration, disk: Disk, size: int, seed: str) -> DiskLayout:
    tables = [table for table in configuration.of(Table) if table.base == disk.name]
    if not tables:
        return DiskLayout(disk.name, size, disk.block_size)
    table = tables[0]
    if table.label == "mbr" and disk.block_size != SECTOR:
        refuse(table, f"an mbr on a disk with sectors of {disk.block_size} bytes", "expected: label: gpt")
    slots = partitions.place_partitions(disk, table, size, version=configuration.version, seed=seed)
    identifier = table.id or (guid if table.label == "gpt" else mbr_id)(seed, disk.name, "table")
    return DiskLayout(disk.name, size, disk.block_size, table.label, identifier, slots)


def _on(configuration: Configuration, node: Luks | Group) -> set[str]:
    """The storages that a container or a volume group lies on."""
    if isinstance(node, Luks):
        return {node.base}
    return {physical.base for physical in configuration.of(Physical) if physical.name in node.members}


def _nothing_below(configuration: Configuration, node: Node, storages: Mapping[str, Storage]) -> None:
    storage_names = {
        other.name for other in configuration.nodes if isinstance(other, Partition | Logical | Luks | Disk)
    }
    assert isinstance(node, Luks | Group)
    missing = sorted(_on(configuration, node) - storages.keys())
    unplaced = [name for name in missing if name in storage_names]
    raise UsageError(
        f"{title(node)} lies on {', '.join(missing)}, of which {', '.join(unplaced) or 'none'} has no place on a disk",
        where=str(node.where),
        hint="name a partition of a disk as its base",
    )


def _opened(node: Luks, on: Storage) -> Storage:
    size = on.size - LUKS_HEADER
    if size <= 0:
        refuse(node, f"its header takes {shown(LUKS_HEADER)}, and {node.base!r} has {shown(on.size)}", "make it larger")
    return Storage(node.name, "luks", node.base, size, (Piece(node.name, 0, size),))


def _group(configuration: Configuration, node: Group) -> GroupPlan:
    bases = {physical.name: physical.base for physical in configuration.of(Physical)}
    logical = tuple(
        LogicalPlan(volume.name, volume.size, volume.extents, volume.type, volume.thin_pool, volume.options)
        for volume in configuration.of(Logical)
        if volume.base == node.name
    )
    options = (
        *(word for volume in configuration.of(Physical) if volume.name in node.members for word in volume.options),
    )
    return GroupPlan(node.name, tuple((name, bases[name]) for name in node.members), logical, options + node.options)


def _file_systems(configuration: Configuration) -> tuple[FileSystem, ...]:
    mounts = {mount.base: mount for mount in configuration.of(Mount)}
    lines = {line.base: line for line in configuration.of(Fstab)}
    systems = []
    for node in configuration.of(MakeFs):
        mount = mounts.get(node.name)
        line = lines.get(mount.name) if mount else None
        point = "" if mount is None else "none" if node.type == SWAP else mount.point.rstrip("/") or "/"
        systems.append(
            FileSystem(
                node.name,
                node.base,
                node.type,
                node.label,
                node.uuid,
                node.options or (),
                point,
                (line.options, line.dump, line.passno) if line else None,
                node.subvolumes,
            )
        )
    # In the order of mounting: by mount point, then swap ("none"), then what is not mounted at all.
    return tuple(sorted(systems, key=lambda system: (not system.point, system.point == "none", system.point)))


def _data(configuration: Configuration, node: Verity) -> str:
    """The storage whose blocks a verity node covers."""
    base = configuration.find(node.base)
    return base.base if isinstance(base, MakeFs) else base.name
